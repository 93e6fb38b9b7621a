"""Believable notes: the same id always gives the same `data`, in the real answer's exact shape."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import datetime, timedelta, timezone

from msgspec import Struct

from harvester.simulator.chance import Dice

_SHANGHAI = timezone(timedelta(hours=8))
_CUT_TITLES = 100  # one title in so many ends in half an emoji, as the vendor cuts them
_HALF_AN_EMOJI = "\ud83d"
_DAY = 86_400


class _Topic(Struct, frozen=True):
    """What a note may be about: words for its title, its sentences and its hashtags."""

    subjects: tuple[str, ...]
    points: tuple[str, ...]
    tags: tuple[str, ...]


_TOPICS = (
    _Topic(
        ("周末爬山", "环湖骑行", "古镇两日游", "海边露营", "城市漫步", "自驾看雪"),
        (
            "早上七点前出发最好,过了九点停车场基本就满了,别问我怎么知道的",
            "山顶风很大,哪怕夏天也要带一件外套,不然拍照的时候手都在抖",
            "这条路线全程大概八公里,新手慢慢走也就四个小时,中途有两个补给点",
            "住的地方我选了老街旁边的小院子,一晚三百出头,老板还送早餐",
            "门票记得提前一天在公众号上约,现场排队要多等半个小时",
            "带娃的朋友走东门,有缓坡可以推车,洗手间也更近",
            "日落的时间去湖边,光线特别温柔,手机随便拍都好看",
            "返程不要走高速出口那条路,绕一下县道反而快二十分钟",
        ),
        ("周末去哪儿", "旅行攻略", "小众旅行地", "徒步", "露营", "城市漫步"),
    ),
    _Topic(
        ("番茄牛腩", "低卡便当", "空气炸锅鸡翅", "一人食火锅", "葱油拌面", "烤红薯"),
        (
            "牛肉冷水下锅,水开之后再煮三分钟,浮沫一定要撇干净,汤才会清",
            "番茄先炒出沙再加热水,这一步偷懒的话味道会差很多",
            "调料比例:两勺生抽一勺蚝油半勺糖,不用再放盐,真的够味了",
            "没有高压锅也没关系,小火慢炖一个半小时,筷子能扎透就行",
            "前一天晚上腌好放冰箱,早上十分钟就能出锅,上班带饭完全来得及",
            "怕油的话底下垫一张吸油纸,最后五分钟转高火,外皮会更脆",
            "剩下的汤汁别倒,第二天煮面或者拌饭都特别香",
            "我家小朋友平时不爱吃菜,这个能吃两大碗,强烈推荐你们试试",
        ),
        ("家常菜", "美食教程", "今天吃什么", "减脂餐", "一人食", "厨房小白"),
    ),
    _Topic(
        ("出租屋改造", "小户型收纳", "旧房翻新", "阳台种花", "厨房整理", "书桌布置"),
        (
            "先把不用的东西全部清出去,再量尺寸买柜子,顺序反了一定会后悔",
            "墙面我用的是可移除的贴纸,退租的时候撕掉不会留胶,房东也没意见",
            "插座的位置提前想好,床头两边都要留,不然以后全是拖线板",
            "灯光换成三千开的暖光之后,整个房间的感觉完全不一样了",
            "窗帘选遮光率百分之八十左右的就够了,全遮光早上根本起不来",
            "阳台朝北也能养花,绣球和玉簪都耐阴,一周浇两次水就活得很好",
            "收纳盒尽量买同一个颜色,哪怕里面很乱,看上去也整整齐齐",
            "全部加起来不到两千块,清单放在最后一张图里了,需要的自己存",
        ),
        ("出租屋改造", "收纳整理", "装修日记", "小户型", "我的家", "阳台花园"),
    ),
    _Topic(
        ("考证上岸", "英语自学", "论文写作", "转行学编程", "早起打卡", "读书笔记"),
        (
            "每天固定两个小时,比周末突击八个小时有用得多,关键是不要断",
            "真题至少做三遍,第一遍熟悉题型,第二遍总结错题,第三遍掐时间",
            "单词不要一个一个背,放在句子里记,一个月之后回头看差别很大",
            "手机放到另一个房间,专注的时间会直接翻倍,这是我试过最有效的办法",
            "网课不用买贵的,免费的公开课加上一本教材,基础阶段完全够用",
            "写不出来的时候先列提纲,哪怕只有三行,第二天接着写就不会慌",
            "最后一个月不要再换资料了,把手上的吃透,心态稳住就赢了一半",
            "备考的时候我也崩溃过好几次,找个朋友一起打卡真的会好很多",
        ),
        ("学习方法", "备考经验", "自律打卡", "上岸经验", "自我提升", "大学生"),
    ),
    _Topic(
        ("敏感肌护肤", "新手化妆", "通勤穿搭", "秋冬护发", "微胖显瘦", "素颜养成"),
        (
            "换季脸红的时候先停掉所有功效类产品,只留洁面和保湿,大概一周能稳住",
            "防晒要涂够量,一元硬币那么大才算一次,出门前二十分钟就涂好",
            "上衣短一点下装高一点,比例立刻就出来了,小个子照着穿不会错",
            "粉底少量多次,用湿的美妆蛋轻轻拍开,鼻翼和嘴角最容易卡粉",
            "洗完头先擦干再抹护发精油,只抹发尾,抹到头皮会塌得很厉害",
            "同色系叠穿最不容易出错,深浅差两个度,看起来很有层次",
            "我是油皮,这个用了一个夏天没有闷痘,空瓶了才敢来分享",
            "便宜的不一定不好用,先买小样试三天,没有问题再买正装",
        ),
        ("护肤心得", "每日穿搭", "新手化妆教程", "敏感肌", "好物分享", "变美小技巧"),
    ),
)
_TITLES = (
    "{}保姆级教程,看这篇就够了",
    "后悔没早点知道!{}的正确打开方式",
    "{}踩坑合集,新手一定要看",
    "第一次{},记录一下真实感受",
    "普通人的{}指南",
    "{}|花了三个月总结的经验",
    "谁懂啊!{}居然这么简单",
    "听我的,{}真的不用花冤枉钱",
)
_OPENINGS = (
    "✨姐妹们!关于{}我终于有发言权了,前前后后折腾了大半年,今天一次说清楚",
    "🙋最近好多朋友私信问我{}的事情,一条一条回不过来,干脆写一篇",
    "📝{}这件事我走了不少弯路,希望你们看完可以少花点时间",
    "💬先说结论:{}没有想象中那么难,普通人照着做就可以",
    "🌿记录一下我的{},不是专业博主,只讲自己的真实体验",
)
_CLOSINGS = (
    "以上都是个人经验,不一定适合每个人,有问题评论区见💕",
    "觉得有用的话记得点个收藏,免得下次找不到啦🔖",
    "还想看什么可以告诉我,下一篇安排上🫶",
    "码字不易,喜欢就给个小红心吧❤️",
    "先写到这里,之后有新的发现再来更新🌟",
)
_BULLETS = ("1️⃣", "2️⃣", "3️⃣", "4️⃣", "5️⃣", "6️⃣", "7️⃣", "8️⃣")
_NAMES = ("爱吃橘子的", "慢半拍的", "住在海边的", "早睡早起的", "认真生活的", "会飞的", "不加糖的")
_NICKS = ("小满", "阿布", "豆沙包", "南瓜", "七七", "山茶", "老王", "柚子", "团子")
_CITIES = ("", "", "", "上海", "北京", "浙江杭州", "四川成都", "广东深圳")
_SIZES = ((1242, 1656), (1080, 1440), (1440, 1920), (1280, 960), (1080, 1080))


def note_data(note_id: str) -> dict[str, object]:
    """The `data` of an answer for `note_id` (24 lower-case hex digits), some 3 KB as JSON.

    Keys, their order and types are those of the real answer of `xiaohongshu-pgy/get-note-detail`
    v1; the id's first 8 digits are the note's creation in Unix seconds. About one title in a
    hundred ends in a lone surrogate.
    """
    dice = Dice(note_id)
    topic = _TOPICS[dice.roll(len(_TOPICS))]
    subject = dice.pick(topic.subjects)
    created = int(note_id[:8], 16)
    user_id = f"{created - dice.roll(900 * _DAY) & 0xFFFFFFFF:08x}0000000001{dice.digits(6)}"
    return {
        "noteId": note_id,
        "noteLink": _link(note_id, dice),
        "userId": user_id,
        "headPhoto": None,
        "name": None,
        "redId": None,
        "type": 1,
        "atUserList": None,
        "title": _title(subject, dice),
        "content": _content(topic, subject, dice),
        "imagesList": [_image(dice) for _ in range(1 + dice.roll(4))],
        "videoInfo": None,
        "time": _times(created, dice),
        "createTime": f"{datetime.fromtimestamp(created, _SHANGHAI):%Y-%m-%d %H:%M}",
        **_counts(dice),
        "reportBrandUserId": None,
        "reportBrandName": None,
        "featureTags": None,
        "userInfo": _user(user_id, dice),
        "compClickData": None,
    }


def _link(note_id: str, dice: Dice) -> str:
    token = urlsafe_b64encode(dice.roll(1 << 256).to_bytes(32, "big")).decode()
    return f"https://www.xiaohongshu.com/explore/{note_id}?xsec_token=MB{token}&xsec_source=pc_pgy"


def _title(subject: str, dice: Dice) -> str:
    title = dice.pick(_TITLES).format(subject)
    return title if dice.roll(_CUT_TITLES) else title + _HALF_AN_EMOJI


def _content(topic: _Topic, subject: str, dice: Dice) -> str:
    points = _some(topic.points, 6 + dice.roll(3), dice)
    lines = [f"{bullet}{point}" for bullet, point in zip(_BULLETS, points, strict=False)]
    tags = "".join(f"#{tag}[话题]#" for tag in _some(topic.tags, 3 + dice.roll(3), dice))
    opening = dice.pick(_OPENINGS).format(subject)
    return "\n".join((opening, "-", *lines, "\t", dice.pick(_CLOSINGS), tags))


def _some(choices: tuple[str, ...], count: int, dice: Dice) -> tuple[str, ...]:
    """`count` different ones of `choices`, which stand in a ring and are taken from one spot on."""
    start = dice.roll(len(choices))
    return (choices + choices)[start : start + count]


def _image(dice: Dice) -> dict[str, object]:
    file_id = f"1040g2sg31{dice.digits(30)}"
    width, height = _SIZES[dice.roll(len(_SIZES))]
    return {
        "fileId": file_id,
        "url": f"http://ci.xiaohongshu.com/{file_id}?imageView2/2/w/1080/format/jpg",
        "original": f"http://ci.xiaohongshu.com/{file_id}",
        "width": width,
        "height": height,
        "latitude": None,
        "longitude": None,
        "traceId": file_id,
        "sticker": None,
    }


def _times(created: int, dice: Dice) -> dict[str, int]:
    """Three moments in Unix milliseconds."""
    edited = created + dice.roll(3 * _DAY)
    return {
        "createTime": created * 1000,
        "updateTime": (edited + dice.roll(30 * _DAY)) * 1000,
        "userUpdateTime": edited * 1000,
    }


def _counts(dice: Dice) -> dict[str, int]:
    likes = dice.roll(5_000)
    reads = likes * 12 + dice.roll(1_000)
    return {
        "impNum": reads * 5 + dice.roll(1_000),
        "likeNum": likes,
        "favNum": dice.roll(likes + 1),
        "cmtNum": dice.roll(likes // 8 + 1),
        "readNum": reads,
        "shareNum": dice.roll(likes // 10 + 1),
        "followCnt": dice.roll(likes // 20 + 1),
    }


def _user(user_id: str, dice: Dice) -> dict[str, object]:
    avatar = f"1040g2jo31{dice.digits(30)}"
    return {
        "nickName": dice.pick(_NAMES) + dice.pick(_NICKS),
        "avatar": f"https://sns-avatar-qc.xhscdn.com/avatar/{avatar}?imageView2/2/w/120/format/jpg",
        "userId": user_id,
        "advertiserId": None,
        "fansNum": dice.roll(20_000),
        "cooperType": 2,
        "priceState": None,
        "pictureState": None,
        "picturePrice": None,
        "videoState": None,
        "videoPrice": None,
        "userType": 1,
        "operateState": None,
        "currentLevel": None,
        "location": dice.pick(_CITIES),
        "contentTags": [],
        "featureTags": [],
        "personalTags": [],
        "gender": dice.pick(("女", "男")),
        "isCollect": False,
        "clickMidNum": 0,
        "interMidNum": 0,
        "pictureInCart": None,
        "videoInCart": None,
        "kolType": None,
        "mengagementNum": 0,
        "mEngagementNum": 0,
    }
