
(() => {
  "use strict";

  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  // A finger that drags wants to scroll the page, not to zoom a chart.
  const touch = window.matchMedia("(pointer: coarse), (max-width: 46rem)");

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  }

  function faint(hex) {
    return hex + "33";
  }

  function dressTrace(trace) {
    const own = colour(trace.meta);
    if (trace.type === "bar") {
      return { ...trace, marker: { color: own, line: { width: 0 } } };
    }
    return {
      ...trace,
      line: { ...trace.line, color: own, width: 2 },
      marker: { color: own, size: 6 },
      fillcolor: faint(own),
    };
  }

  function dressAxis(axis) {
    return {
      ...axis,
      tickangle: 0,
      automargin: true,
      color: colour("quiet"),
      gridcolor: colour("line"),
      linecolor: colour("line"),
      zeroline: false,
      fixedrange: touch.matches,
    };
  }

  // Ticks that are told one by one are as many as there is room for.
  function thin(axis) {
    if (axis.tickmode !== "array") {
      return axis.type === "date" ? { ...axis, nticks: touch.matches ? 5 : 10 } : axis;
    }
    const every = Math.ceil(axis.tickvals.length / (touch.matches ? 5 : 10));
    const kept = (_, place) => place % every === 0;
    return { ...axis, tickvals: axis.tickvals.filter(kept), ticktext: axis.ticktext.filter(kept) };
  }

  function dressLayout(layout) {
    const ink = colour("ink");
    return {
      ...layout,
      xaxis: { ...dressAxis(thin(layout.xaxis)), showgrid: false, ticklabelstandoff: 5 },
      yaxis: { ...dressAxis(layout.yaxis), nticks: 6, rangemode: "tozero" },
      shapes: (layout.shapes || []).map((shape) => ({
        ...shape,
        layer: "above",
        opacity: 0.5,
        line: { color: colour("quiet"), width: 1, dash: "dot" },
      })),
      autosize: true,
      margin: { l: 44, r: 20, t: 12, b: 8 },
      paper_bgcolor: colour("card"),
      plot_bgcolor: colour("card"),
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink },
      hovermode: "x unified",
      hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { color: ink } },
      showlegend: false,
      dragmode: touch.matches ? false : "zoom",
      separators: ".,",
    };
  }

  // Zoomed in, few of the ticks that are told one by one are in sight.
  function followZoom(chart) {
    if (chart.layout.xaxis.tickmode !== "array") {
      return;
    }
    chart.on("plotly_relayout", (change) => {
      if ("xaxis.range[0]" in change) {
        Plotly.relayout(chart, { "xaxis.tickmode": "auto", "xaxis.nticks": 8 });
      }
    });
    chart.on("plotly_doubleclick", () => {
      Plotly.relayout(chart, { "xaxis.tickmode": "array" });
    });
  }

  function draw() {
    for (const [name, figure] of Object.entries(figures)) {
      Plotly.react(
        document.getElementById("chart-" + name),
        figure.data.map(dressTrace),
        dressLayout(figure.layout),
        { displayModeBar: false, responsive: true, showTips: false },
      );
    }
  }

  async function copy(text, area) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Browsers that keep the clipboard from local files still copy what is selected.
      area.focus();
      area.select();
      return document.execCommand("copy");
    }
  }

  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.addEventListener("click", async () => {
      const area = document.getElementById(button.dataset.copy);
      const done = await copy(area.value, area);
      button.textContent = done ? "Copied" : "Selected: press Ctrl+C or ⌘C";
    });
  }

  // The rows of the notes' table as they are looked for: by word, and in the order of a column.
  const table = document.getElementById("notes");
  if (table) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const words = rows.map((row) => `${row.textContent} ${row.id.slice(1)}`.toLowerCase());
    const search = document.getElementById("search");
    search.hidden = false;
    search.addEventListener("input", () => {
      const wanted = search.value.toLowerCase().split(/\s+/);
      rows.forEach((row, place) => {
        row.hidden = !wanted.every((word) => words[place].includes(word));
      });
      const many = rows.filter((row) => !row.hidden).length;
      document.getElementById("found").textContent = search.value ? `${many} found` : "";
    });
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      const isNumber = head.classList.contains("number");
      const valueOf = (row) => {
        const cell = row.cells[column];
        const time = cell.querySelector("time");
        const text = time ? time.dateTime : cell.textContent.trim();
        return !isNumber || time ? text : Number(text.replaceAll(",", "") || -1);
      };
      button.addEventListener("click", () => {
        const isDown = head.ariaSort !== "descending" && (isNumber || head.ariaSort === "ascending");
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.ariaSort = isDown ? "descending" : "ascending";
        const values = new Map(rows.map((row) => [row, valueOf(row)]));
        const compare = (one, other) => (typeof one === "number" ? one - other : one.localeCompare(other));
        const sorted = [...rows].sort((a, b) => compare(values.get(a), values.get(b)));
        body.append(...(isDown ? sorted.reverse() : sorted));
      });
    });
  }

  draw();
  for (const name of Object.keys(figures)) {
    followZoom(document.getElementById("chart-" + name));
  }
  dark.addEventListener("change", draw);
  touch.addEventListener("change", draw);
})();
