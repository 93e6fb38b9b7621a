"""The fields that people ask for, in words: each once, with its headings and what it holds."""

from __future__ import annotations

from msgspec import Struct


class Field(Struct, frozen=True):
    """What a field is called in Chinese and in English.

    A moment is in Unix milliseconds, or as OUTPUT's lines say it; a picture's address is no link.
    """

    zh: str
    en: str
    is_moment: bool = False
    is_picture: bool = False


def _moment(zh: str, en: str) -> Field:
    return Field(zh, en, is_moment=True)


def _picture(zh: str, en: str) -> Field:
    return Field(zh, en, is_picture=True)


FETCHED_AT = "fetchedAt"
FIELDS = {
    "noteId": Field("笔记ID", "Note ID"),
    FETCHED_AT: _moment("抓取时间", "Fetched at"),
    "attempts": Field("调用次数", "Attempts"),
    "endpoint": Field("接口", "Endpoint"),
    "recordTime": Field("记录时间", "Record time"),
    "requestId": Field("请求ID", "Request ID"),
    "raw": Field("原始应答", "Raw answer"),
    "noteLink": Field("笔记链接", "Link"),
    "userId": Field("作者ID", "Author ID"),
    "headPhoto": _picture("头像", "Head photo"),
    "name": Field("名称", "Name"),
    "redId": Field("小红书号", "RED ID"),
    "type": Field("笔记类型", "Type"),
    "atUserList": Field("提及用户", "Mentioned users"),
    "title": Field("标题", "Title"),
    "content": Field("正文", "Text"),
    "imagesList": Field("图片列表", "Images"),
    "videoInfo": Field("视频信息", "Video"),
    "videoInfo.videoUrl": Field("视频链接", "Video link"),
    "time.createTime": _moment("发布时间", "Published at"),
    "time.updateTime": _moment("更新时间", "Updated at"),
    "time.userUpdateTime": _moment("作者更新时间", "Updated by author at"),
    "createTime": Field("发布时间(北京)", "Published (Beijing)"),
    "impNum": Field("曝光数", "Impressions"),
    "likeNum": Field("点赞数", "Likes"),
    "favNum": Field("收藏数", "Favourites"),
    "cmtNum": Field("评论数", "Comments"),
    "readNum": Field("阅读数", "Reads"),
    "shareNum": Field("分享数", "Shares"),
    "followCnt": Field("关注数", "Follows"),
    "reportBrandUserId": Field("报备品牌ID", "Brand ID"),
    "reportBrandName": Field("报备品牌", "Brand"),
    "featureTags": Field("特征标签", "Feature tags"),
    "compClickData": Field("组件点击数据", "Component clicks"),
    "userInfo.nickName": Field("作者昵称", "Author"),
    "userInfo.avatar": _picture("作者头像", "Author's avatar"),
    "userInfo.userId": Field("博主ID", "Creator ID"),
    "userInfo.advertiserId": Field("广告主ID", "Advertiser ID"),
    "userInfo.fansNum": Field("粉丝数", "Fans"),
    "userInfo.cooperType": Field("合作类型", "Cooperation type"),
    "userInfo.priceState": Field("报价状态", "Price state"),
    "userInfo.pictureState": Field("图文合作状态", "Picture state"),
    "userInfo.picturePrice": Field("图文报价", "Picture price"),
    "userInfo.videoState": Field("视频合作状态", "Video state"),
    "userInfo.videoPrice": Field("视频报价", "Video price"),
    "userInfo.userType": Field("作者类型", "Author type"),
    "userInfo.operateState": Field("运营状态", "Operating state"),
    "userInfo.currentLevel": Field("作者等级", "Author level"),
    "userInfo.location": Field("作者地区", "Author's location"),
    "userInfo.contentTags": Field("内容标签", "Content tags"),
    "userInfo.featureTags": Field("作者特征标签", "Author's feature tags"),
    "userInfo.personalTags": Field("人设标签", "Personal tags"),
    "userInfo.gender": Field("性别", "Gender"),
    "userInfo.isCollect": Field("是否收藏", "Is collected"),
    "userInfo.clickMidNum": Field("阅读中位数", "Median reads"),
    "userInfo.interMidNum": Field("互动中位数", "Median interactions"),
    "userInfo.pictureInCart": Field("图文已加购", "Pictures in cart"),
    "userInfo.videoInCart": Field("视频已加购", "Videos in cart"),
    "userInfo.kolType": Field("达人类型", "Creator type"),
    "userInfo.mengagementNum": Field("月互动数", "Monthly engagements"),
    "userInfo.mEngagementNum": Field("月互动数(mEngagementNum)", "Monthly engagements (m)"),
}
# What a note and its columns over time are called where there is more than one.
CHANGES = {
    "first": Field("首次", "first"),
    "last": Field("最新", "last"),
    "difference": Field("变化", "difference"),
}
PRESETS = {
    "marketing": (
        "input",
        "title",
        "userInfo.nickName",
        "userInfo.fansNum",
        "likeNum",
        "favNum",
        "cmtNum",
        "shareNum",
        "readNum",
        "impNum",
        "followCnt",
        "createTime",
        "noteLink",
        "userInfo.location",
        "reportBrandName",
        "content",
        "noteId",
        "userId",
        FETCHED_AT,
    )
}
