// The built-in page: query box with table and graph, targets, status. Talks only to the public API; puts
// text into the document only as text nodes, so that label values cannot become markup.
"use strict";
(() => {
  const TEXTS = {
    en: {
      skip: "Skip to content", query: "Query", targets: "Targets", status: "Status", config: "Configuration", flags: "Flags",
      tsdb: "TSDB", rules: "Rules", run: "Run", table: "Table", graph: "Graph", time: "Time", end: "End", range: "Range", step: "Step",
      now: "now", auto: "auto", expression: "Expression (Shift+Enter for a new line)", empty: "The query gave no result.",
      series: "series", shown: "shown", search: "Search", all: "all", state: "State", pool: "Pool", endpoint: "Endpoint", labels: "Labels",
      last: "Last scrape", took: "took", previous: "Previous", next: "Next", page: "Page", of: "of", none: "Nothing here.",
      name: "Name", value: "Value", never: "never", ago: "ago", light: "Light", dark: "Dark", system: "System", theme: "Theme", language: "中文",
      blocks: "Blocks", from: "From", to: "To", samples: "Samples", failed: "The request failed", noRules: "Rules are not built into this version.",
      dropped: "dropped by relabeling", refresh: "Refresh", discovered: "Before relabeling", metric: "Find a metric", examples: "For a start", build: "Build", runtime: "Runtime", loading: "Loading…", minutes: "min", toggled: "Show or hide",
    },
    zh: {
      skip: "跳到正文", query: "查询", targets: "采集目标", status: "状态", config: "配置", flags: "启动参数",
      tsdb: "存储", rules: "规则", run: "执行", table: "表格", graph: "图形", time: "时间", end: "结束", range: "范围", step: "步长",
      now: "现在", auto: "自动", expression: "表达式（Shift+Enter 换行）", empty: "查询没有结果。",
      series: "条序列", shown: "已显示", search: "搜索", all: "全部", state: "状态", pool: "采集池", endpoint: "地址", labels: "标签",
      last: "上次采集", took: "耗时", previous: "上一页", next: "下一页", page: "第", of: "/", none: "没有内容。",
      name: "名称", value: "值", never: "从未", ago: "前", light: "浅色", dark: "深色", system: "跟随系统", theme: "主题", language: "English",
      blocks: "数据块", from: "起", to: "止", samples: "样本数", failed: "请求失败", noRules: "此版本尚不支持规则。",
      dropped: "个目标被重标记丢弃", refresh: "刷新", discovered: "重标记之前", metric: "查找指标", examples: "试一试", build: "版本", runtime: "运行信息", loading: "加载中…", minutes: "分钟", toggled: "显示或隐藏",
    },
  };
  const store = { get: (k) => { try { return localStorage.getItem(k); } catch { return null; } }, set: (k, v) => { try { localStorage.setItem(k, v); } catch { /* private window */ } } };
  let lang = store.get("godwit.lang") || (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
  const t = (k) => (TEXTS[lang] || TEXTS.en)[k] || k;

  const el = (tag, attrs, ...children) => fill(document.createElement(tag), attrs, children);
  const svg = (tag, attrs, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attrs, children);
  function fill(node, attrs, children) {
    for (const [k, v] of Object.entries(attrs || {})) {
      if (k.startsWith("on")) node.addEventListener(k.slice(2), v);
      else if (v !== null && v !== undefined && v !== false) node.setAttribute(k, v === true ? "" : String(v));
    }
    for (const c of children.flat()) if (c !== null && c !== undefined) node.append(c);
    return node;
  }
  const main = document.getElementById("main");
  let stop = new AbortController();

  async function api(path, params, post) {
    const form = new URLSearchParams(params || {});
    const text = form.toString();
    const options = { signal: stop.signal, headers: {} };
    let url = "api/v1/" + path;
    if (post) { options.method = "POST"; options.body = form; } else if (text) url += "?" + text;
    const response = await fetch(url, options);
    const type = response.headers.get("content-type") || "";
    if (!type.startsWith("application/json")) throw new Error(`${t("failed")}: ${response.status} ${(await response.text()).slice(0, 500)}`);
    const body = await response.json();
    if (body.status !== "success") throw new Error(`${body.errorType}: ${body.error}`);
    return body;
  }

  const PAGES = { query: queryPage, targets: targetsPage, status: statusPage, "tsdb-status": tsdbPage, config: configPage, flags: flagsPage, rules: rulesPage };
  const ALIASES = { alerts: "rules", "service-discovery": "targets", "alertmanager-discovery": "status" };
  const NAMES = { "tsdb-status": "tsdb" };
  const current = () => { const last = location.pathname.split("/").pop(); const p = ALIASES[last] || last; return PAGES[p] ? p : "query"; };

  function chrome() {
    document.documentElement.lang = lang;
    const skip = document.querySelector(".skip");
    skip.textContent = t("skip");
    const nav = document.getElementById("nav");
    nav.replaceChildren(...Object.keys(PAGES).map((p) => el("a", { href: p, "aria-current": p === current() ? "page" : null, onclick: (e) => { if (e.ctrlKey || e.metaKey || e.shiftKey) return; e.preventDefault(); go(p); } }, t(NAMES[p] || p))));
    document.getElementById("lang").textContent = t("language");
    const theme = store.get("godwit.theme") || "system";
    if (theme === "system") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme");
    button.textContent = t(theme);
    button.setAttribute("aria-label", `${t("theme")}: ${t(theme)}`);
  }
  document.getElementById("lang").addEventListener("click", () => { lang = lang === "zh" ? "en" : "zh"; store.set("godwit.lang", lang); show(); });
  document.getElementById("theme").addEventListener("click", () => {
    const order = ["system", "light", "dark"];
    store.set("godwit.theme", order[(order.indexOf(store.get("godwit.theme") || "system") + 1) % 3]);
    chrome();
  });
  addEventListener("popstate", () => show());
  function go(page) { history.pushState(null, "", page); show(); main.focus(); }

  async function show() {
    stop.abort();
    stop = new AbortController();
    chrome();
    main.replaceChildren(el("p", { class: "soft" }, t("loading")));
    notices();
    try { await PAGES[current()](); } catch (e) { if (e.name !== "AbortError") main.replaceChildren(el("p", { class: "error", role: "alert" }, e.message)); }
  }
  async function notices() {
    try {
      const list = (await api("notifications")).data;
      document.getElementById("notice").replaceChildren(...list.map((n) => el("p", {}, n.text)));
    } catch { /* the page itself will say what is wrong */ }
  }

  const quote = (s) => JSON.stringify(s);
  const legacy = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
  function metricText(m) {
    const { __name__: name, ...rest } = m;
    const pairs = Object.entries(rest).map(([k, v]) => `${legacy.test(k) ? k : quote(k)}=${quote(v)}`);
    if (name && !legacy.test(name)) return `{${[quote(name), ...pairs].join(", ")}}`;
    return (name || "") + (pairs.length || !name ? `{${pairs.join(", ")}}` : "");
  }
  const table = (heads, rows) => el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, heads.map((h) => el("th", { scope: "col" }, h)))), el("tbody", {}, rows)));
  const histogramText = (h) => `count=${h.count} sum=${h.sum} ` + (h.buckets || []).map(([b, l, u, c]) => `${"([(["[b]}${l},${u}${"]))]"[b]}:${c}`).join(" ");

  const ROWS_MAX = 1000;
  function queryPage() {
    const url = new URLSearchParams(location.search);
    const value = (name, legacyName) => url.get(name) || url.get(legacyName) || "";
    let tab = value("tab", "g0.tab") === "0" || value("tab", "g0.tab") === "graph" ? "graph" : "table";
    const names = el("datalist", { id: "names" });
    const box = el("textarea", { id: "expr", rows: 2, spellcheck: "false", autocapitalize: "off", autocomplete: "off", "aria-label": t("expression"), placeholder: t("expression") });
    box.value = value("expr", "g0.expr");
    const at = el("input", { type: "datetime-local", step: 1, "aria-label": t("time") });
    const range = el("select", { "aria-label": t("range") }, [5, 15, 60, 180, 360, 720, 1440, 2880, 10080].map((m) => el("option", { value: m * 60, selected: m === 60 }, m < 60 ? `${m}m` : m < 1440 ? `${m / 60}h` : `${m / 1440}d`)));
    const step = el("input", { size: 8, placeholder: t("auto"), "aria-label": t("step") });
    const output = el("div", { "aria-live": "polite" });
    const tabs = el("span", {});
    const pick = el("input", { list: "names", placeholder: t("metric"), "aria-label": t("metric"), onchange: () => { if (pick.value) { box.setRangeText(pick.value, box.selectionStart, box.selectionEnd, "end"); pick.value = ""; box.focus(); } } });
    let timer = 0;
    pick.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(async () => {
        const word = pick.value.replace(/[^a-zA-Z0-9_:]/g, "");
        try {
          const found = (await api("label/__name__/values", { "match[]": `{__name__=~".*${word}.*"}`, limit: 50 })).data;
          names.replaceChildren(...found.map((n) => el("option", { value: n })));
        } catch { /* suggestions only */ }
      }, 250);
    });
    function drawTabs() {
      tabs.replaceChildren(...["table", "graph"].map((k) => el("button", { type: "button", "aria-pressed": String(tab === k), onclick: () => { tab = k; drawTabs(); run(); } }, t(k))));
      range.hidden = step.hidden = tab !== "graph";
    }
    async function run() {
      const query = box.value.trim();
      history.replaceState(null, "", `query?${new URLSearchParams({ "g0.expr": query, "g0.tab": tab === "graph" ? "0" : "1" })}`);
      if (!query) { output.replaceChildren(examples()); return; }
      output.replaceChildren(el("p", { class: "soft" }, t("loading")));
      const began = performance.now();
      try {
        const end = at.value ? new Date(at.value).getTime() / 1000 : Date.now() / 1000;
        let body, params;
        if (tab === "graph") {
          const seconds = Number(range.value);
          params = { query, start: (end - seconds).toFixed(3), end: end.toFixed(3), step: step.value.trim() || String(Math.max(1, Math.ceil(seconds / 250))) };
          body = await api("query_range", params, true);
        } else {
          body = await api("query", { query, time: end.toFixed(3) }, true);
        }
        const ms = Math.round(performance.now() - began);
        const notes = [...(body.warnings || []), ...(body.infos || [])].map((w) => el("p", { class: "warning" }, w));
        const data = body.data;
        const count = Array.isArray(data.result) && data.resultType !== "scalar" && data.resultType !== "string" ? data.result.length : 1;
        output.replaceChildren(...notes, el("p", { class: "soft" }, `${count} ${t("series")}, ${ms} ms`), tab === "graph" ? graph(data.result, Number(params.start), Number(params.end)) : resultTable(data));
      } catch (e) { if (e.name !== "AbortError") output.replaceChildren(el("p", { class: "error", role: "alert" }, e.message)); }
    }
    const examples = () => el("div", {}, el("p", { class: "soft" }, t("examples")), el("div", { class: "chips" },
      ["up", "sum by (job) (up)", "topk(10, count by (__name__) ({__name__=~\".+\"}))", "rate(prometheus_http_requests_total[5m])", "process_resident_memory_bytes"]
        .map((text) => el("button", { type: "button", onclick: () => { box.value = text; run(); } }, text))));
    box.addEventListener("keydown", (e) => { if (e.key === "Enter" && !e.shiftKey) { e.preventDefault(); run(); } });
    drawTabs();
    main.replaceChildren(
      el("form", { onsubmit: (e) => { e.preventDefault(); run(); } }, box, el("div", { class: "bar" }, el("button", { class: "main" }, t("run")), tabs, at, range, step, pick, names)),
      output);
    run();
    if (!box.value) box.focus();
  }

  function resultTable(data) {
    const row = (metric, cells) => el("tr", {}, el("td", { class: "labels" }, metric), el("td", { class: "number" }, cells));
    if (data.resultType === "scalar" || data.resultType === "string") return table([t("name"), t("value")], [row(data.resultType, data.result[1])]);
    if (!data.result.length) return el("p", {}, t("empty"));
    const shown = data.result.slice(0, ROWS_MAX);
    const lines = (s) => {
      if (s.value) return s.value[1];
      if (s.histogram) return histogramText(s.histogram[1]);
      return [...(s.values || []).map(([at, v]) => `${v} @${at}`), ...(s.histograms || []).map(([at, h]) => `${histogramText(h)} @${at}`)].slice(0, 500).map((l) => el("div", {}, l));
    };
    const note = shown.length < data.result.length ? el("p", { class: "warning" }, `${shown.length} ${t("of")} ${data.result.length} ${t("shown")}`) : null;
    return el("div", {}, note, table([t("labels"), t("value")], shown.map((s) => row(metricText(s.metric), lines(s)))));
  }

  const LINES_MAX = 100;
  function graph(result, start, end) {
    const lines = result.filter((s) => s.values && s.values.length).slice(0, LINES_MAX).map((s) => ({ name: metricText(s.metric), points: s.values.map(([x, y]) => [x, Number(y.replace("Inf", "Infinity"))]), on: true }));
    if (!lines.length) return el("p", {}, t("empty"));
    const H = 384, L = 70, B = 24, holder = el("div", {});
    const short = (v) => { const a = Math.abs(v); for (const [n, u] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (a >= n) return `${+(v / n).toPrecision(4)}${u}`; return String(+v.toPrecision(4)); };
    function draw() {
      const W = Math.max(320, main.clientWidth - 34);
      let lo = Infinity, hi = -Infinity;
      for (const l of lines) if (l.on) for (const [, y] of l.points) if (Number.isFinite(y)) { lo = Math.min(lo, y); hi = Math.max(hi, y); }
      if (lo > hi) { lo = 0; hi = 1; }
      if (lo === hi) { lo -= Math.abs(lo) || 1; hi += Math.abs(hi) || 1; }
      const x = (v) => L + (v - start) / (end - start || 1) * (W - L - 8), y = (v) => H - B - (v - lo) / (hi - lo) * (H - B - 10);
      const parts = [];
      for (let i = 0; i <= 4; i++) {
        const v = lo + (hi - lo) * i / 4, at = start + (end - start) * i / 4;
        parts.push(svg("line", { class: "grid", x1: L, x2: W - 8, y1: y(v), y2: y(v) }), svg("text", { x: L - 6, y: y(v) + 4, "text-anchor": "end" }, short(v)));
        const label = new Date(at * 1000).toLocaleTimeString(lang === "zh" ? "zh-CN" : [], { hour: "2-digit", minute: "2-digit" });
        parts.push(svg("text", { x: x(at), y: H - 6, "text-anchor": i === 0 ? "start" : i === 4 ? "end" : "middle" }, label));
      }
      lines.forEach((l, i) => {
        if (!l.on) return;
        let d = "", pen = false;
        for (const [px, py] of l.points) { if (!Number.isFinite(py)) { pen = false; continue; } d += `${pen ? "L" : "M"}${x(px).toFixed(1)} ${y(py).toFixed(1)}`; pen = true; }
        parts.push(svg("path", { class: `line c${i % 10}`, d }, svg("title", {}, l.name)));
      });
      const legend = lines.map((l, i) => el("li", {}, el("button", { type: "button", class: l.on ? "" : "off", "aria-pressed": String(l.on), "aria-label": `${t("toggled")} ${l.name}`, onclick: () => { l.on = !l.on; draw(); } }, svg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, svg("line", { class: `c${i % 10}`, x1: 0, x2: 10, y1: 5, y2: 5, "stroke-width": 4 })), el("code", {}, l.name), l.shown = el("output", {}))));
      const mark = svg("line", { class: "at", y1: 10, y2: H - B }), clock = svg("text", { y: 10, "text-anchor": "middle" });
      const picture = svg("svg", { class: "graph", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": t("graph"), onpointermove: follow, onpointerleave: () => { mark.remove(); clock.remove(); for (const l of lines) l.shown.textContent = ""; } }, parts);
      function follow(e) {
        const box = picture.getBoundingClientRect();
        const at = start + ((e.clientX - box.left) / box.width * W - L) / (W - L - 8) * (end - start);
        if (!(at >= start && at <= end)) return;
        for (const name of ["x1", "x2"]) mark.setAttribute(name, x(at));
        clock.setAttribute("x", Math.min(Math.max(x(at), L + 60), W - 70));
        clock.textContent = new Date(at * 1000).toLocaleString(lang === "zh" ? "zh-CN" : []);
        picture.append(mark, clock);
        for (const l of lines) {
          const near = l.points.reduce((a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a);
          l.shown.textContent = l.on && Math.abs(near[0] - at) <= (end - start) / 50 ? String(near[1]) : "";
        }
      }
      holder.replaceChildren(picture, el("ul", { class: "legend" }, legend));
    }
    draw();
    addEventListener("resize", draw, { signal: stop.signal });
    const note = result.length > lines.length ? el("p", { class: "warning" }, `${lines.length} ${t("of")} ${result.length} ${t("shown")}`) : null;
    return el("div", {}, note, holder);
  }

  const PAGE_ROWS = 50;
  async function targetsPage() {
    const data = (await api("targets")).data;
    const dropped = Object.values(data.droppedTargetCounts || {}).reduce((a, b) => a + b, 0);
    const pools = [...new Set(data.activeTargets.map((x) => x.scrapePool))].sort();
    // What is wrong comes first; the sort keeps the order of the others.
    const rank = { down: 0, unknown: 1, up: 2 };
    data.activeTargets.sort((a, b) => rank[a.health] - rank[b.health]);
    const counts = { up: 0, down: 0, unknown: 0 };
    for (const x of data.activeTargets) counts[x.health]++;
    let page = 0;
    const search = el("input", { type: "search", placeholder: t("search"), "aria-label": t("search"), oninput: () => { page = 0; draw(); } });
    const state = el("select", { "aria-label": t("state"), onchange: () => { page = 0; draw(); } }, ["", "up", "down", "unknown"].map((s) => el("option", { value: s }, s ? `${s} (${counts[s]})` : `${t("all")} (${data.activeTargets.length})`)));
    const pool = el("select", { "aria-label": t("pool"), onchange: () => { page = 0; draw(); } }, ["", ...pools].map((s) => el("option", { value: s }, s || `${t("pool")}: ${t("all")}`)));
    const body = el("div", {});
    const texts = new Map(data.activeTargets.map((x) => [x, `${x.scrapeUrl} ${metricText(x.labels)} ${x.lastError}`.toLowerCase()]));
    function since(at) {
      const ms = Date.now() - Date.parse(at);
      if (at.startsWith("0001-")) return t("never");
      return ms < 60000 ? `${(ms / 1000).toFixed(1)}s ${t("ago")}` : `${Math.round(ms / 60000)} ${t("minutes")} ${t("ago")}`;
    }
    function draw() {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const found = data.activeTargets.filter((x) => (!state.value || x.health === state.value) && (!pool.value || x.scrapePool === pool.value) && words.every((w) => texts.get(x).includes(w)));
      const pages = Math.max(1, Math.ceil(found.length / PAGE_ROWS));
      page = Math.min(page, pages - 1);
      const rows = found.slice(page * PAGE_ROWS, (page + 1) * PAGE_ROWS).map((x) => {
        const safe = /^https?:\/\//.test(x.globalUrl);
        const row = el("tr", { class: x.lastError ? "more" : null }, el("td", { class: `tight ${x.health}` }, x.health),
          el("td", {}, safe ? el("a", { href: x.globalUrl, rel: "noreferrer noopener" }, x.scrapeUrl) : x.scrapeUrl, el("div", { class: "soft" }, x.scrapePool)),
          el("td", { class: "labels" }, metricText(x.labels), el("details", {}, el("summary", {}, t("discovered")), metricText(x.discoveredLabels))),
          el("td", { class: "tight" }, since(x.lastScrape), el("div", { class: "soft" }, `${t("took")} ${(x.lastScrapeDuration * 1000).toFixed(1)} ms`)));
        return x.lastError ? [row, el("tr", { class: "fault" }, el("td", {}), el("td", { class: "error", colspan: 3 }, x.lastError))] : [row];
      }).flat();
      const move = (by) => () => { page += by; draw(); };
      body.replaceChildren(
        found.length ? table([t("state"), t("endpoint"), t("labels"), t("last")], rows) : el("p", {}, t("none")),
        el("div", { class: "bar" }, el("button", { type: "button", disabled: page === 0, onclick: move(-1) }, t("previous")),
          el("span", {}, `${t("page")} ${page + 1} ${t("of")} ${pages} (${found.length})`),
          el("button", { type: "button", disabled: page >= pages - 1, onclick: move(1) }, t("next"))));
    }
    main.replaceChildren(el("h1", {}, t("targets")), el("div", { class: "bar" }, search, state, pool, el("button", { type: "button", onclick: () => show() }, t("refresh")), dropped ? el("span", { class: "soft" }, `${dropped} ${t("dropped")}`) : null), body);
    draw();
  }

  const pairs = (o) => table([t("name"), t("value")], Object.entries(o).map(([k, v]) => el("tr", {}, el("td", {}, el("code", {}, k)), el("td", {}, String(v)))));
  async function statusPage() {
    const [build, runtime] = await Promise.all([api("status/buildinfo"), api("status/runtimeinfo")]);
    main.replaceChildren(el("h1", {}, t("status")), el("h2", {}, t("build")), pairs(build.data), el("h2", {}, t("runtime")), pairs(runtime.data));
  }
  async function tsdbPage() {
    const [status, blocks] = await Promise.all([api("status/tsdb"), api("status/tsdb/blocks")]);
    const lists = Object.entries(status.data).filter(([, v]) => Array.isArray(v));
    const time = (ms) => new Date(ms).toISOString();
    main.replaceChildren(el("h1", {}, t("tsdb")), pairs(status.data.headStats),
      ...lists.flatMap(([k, rows]) => [el("h2", {}, k), table([t("name"), t("value")], rows.map((r) => el("tr", {}, el("td", {}, el("code", {}, r.name)), el("td", { class: "number" }, String(r.value)))))]),
      el("h2", {}, t("blocks")),
      blocks.data.blocks.length ? table(["ULID", t("from"), t("to"), t("samples")], blocks.data.blocks.map((b) => el("tr", {}, el("td", {}, el("code", {}, b.ulid)), el("td", {}, time(b.minTime)), el("td", {}, time(b.maxTime)), el("td", { class: "number" }, String(b.stats ? b.stats.numSamples || 0 : 0))))) : el("p", {}, t("none")));
  }
  async function configPage() { main.replaceChildren(el("h1", {}, t("config")), el("pre", { tabindex: 0 }, (await api("status/config")).data.yaml)); }
  async function flagsPage() { main.replaceChildren(el("h1", {}, t("flags")), pairs((await api("status/flags")).data)); }
  async function rulesPage() { const groups = (await api("rules")).data.groups; main.replaceChildren(el("h1", {}, t("rules")), el("p", {}, groups.length ? String(groups.length) : t("noRules"))); }

  show();
})();
