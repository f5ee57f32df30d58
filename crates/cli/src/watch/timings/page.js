"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;

  // Everything that comes from the data is set as text, never as markup.
  const make = (tag, fields = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(fields)) {
      if (name === "style") Object.assign(element.style, value);
      else if (name in element && name !== "role") element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  };

  // ---- What is known -------------------------------------------------------------------------------------------

  const CAUSES = [
    ["inputs", "inputs that were not there yet", "--inputs"],
    ["slot", "a slot: as many ran as may", "--slot"],
    ["memory", "memory: a slot was free", "--memory-wait"],
    ["lock", "another process that has the lock", "--lock"],
    ["user", "a build user", "--user"],
    ["hook", "a hook", "--hook"],
  ];
  const total = Math.max(data.durationMs, 1);
  const onCritical = new Set(data.criticalPath);
  const users = data.goals.map(() => []);
  data.goals.forEach((goal, place) => (goal.inputs || []).forEach((input) => users[input].push(place)));
  const builds = [];
  data.goals.forEach((goal, place) => {
    if (goal.kind !== "build") return;
    const begin = goal.runningMs ?? goal.startedMs;
    const end = begin === undefined ? undefined : goal.endedMs ?? total;
    const waits = goal.waits || {};
    builds.push({
      ...goal, place, begin, end,
      took: begin === undefined ? 0 : Math.max(end - begin, 0),
      waited: CAUSES.reduce((sum, [cause]) => sum + (waits[cause] || 0), 0),
      waits, cpuMs: goal.cpuMs || 0, peakMemoryBytes: goal.peakMemoryBytes || 0,
      phases: goal.phases || [], critical: onCritical.has(place),
      text: [goal.name, goal.drvPath, goal.status, goal.machine || "", ...(goal.phases || []).map((phase) => phase.name)]
        .join("\n").toLowerCase(),
    });
  });
  const byPlace = new Map(builds.map((build) => [build.place, build]));
  const ran = builds.filter((build) => build.begin !== undefined)
    .sort((one, other) => one.begin - other.begin || one.end - other.end || one.place - other.place);

  const time = (ms) => {
    if (ms < 1000) return `${Math.round(ms)} ms`;
    if (ms < 60000) return `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
    const seconds = Math.round(ms / 1000);
    const two = (number) => String(number).padStart(2, "0");
    return seconds < 3600
      ? `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`
      : `${Math.floor(seconds / 3600)} h ${two(Math.floor(seconds / 60) % 60)} min`;
  };
  // A place on the axis, which is a multiple of `step`.
  const clock = (ms, step) => {
    if (ms < 60000) return step < 1000 ? (total < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(step < 100 ? 2 : 1)} s`) : `${ms / 1000} s`;
    const two = (number) => String(number).padStart(2, "0");
    const seconds = Math.floor(ms / 1000), part = step < 1000 ? `.${String(Math.round(ms % 1000)).padStart(3, "0")}` : "";
    const minutes = Math.floor(seconds / 60);
    return (minutes < 60 ? minutes : `${Math.floor(minutes / 60)}:${two(minutes % 60)}`) + `:${two(seconds % 60)}${part}`;
  };
  const size = (bytes) => {
    if (!bytes) return "–";
    if (bytes < 1048576) return `${Math.ceil(bytes / 1024)} KiB`;
    if (bytes < 1073741824) return `${(bytes / 1048576).toFixed(bytes < 104857600 ? 1 : 0)} MiB`;
    return `${(bytes / 1073741824).toFixed(2)} GiB`;
  };
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const colourOf = (build) => {
    if (build.status === "failed") return "--failed";
    if (build.status === "cancelled" || build.status === "running" || build.status === "waiting") return "--cancelled";
    if (build.status === "blocked") return "--inputs";
    if (build.critical) return "--critical";
    return build.status === "unchanged" ? "--unchanged" : "--built";
  };

  // ---- In short ------------------------------------------------------------------------------------------------

  const work = ran.reduce((sum, build) => sum + build.took, 0);
  const critical = data.criticalPath.map((place) => byPlace.get(place)).filter(Boolean);
  const criticalMs = critical.reduce((sum, build) => sum + build.took, 0);
  const words = { done: "done", failed: "failed", interrupted: "interrupted" };
  $("status").textContent = words[data.status] || data.status;
  $("status").classList.add(data.status);
  const main = builds.length ? builds[builds.length - 1].name : "nothing to build";
  document.title = `${main} – store build timings`;
  $("subtitle").textContent =
    `${main} · ${new Date(data.startedAtMs).toLocaleString()} · ${data.program} · ${data.slots} at once on ${data.processors} processors`;
  const counted = (status) => builds.filter((build) => build.status === status).length;
  const card = (value, label) => make("div", { className: "card" }, make("b", { textContent: value }), make("span", { textContent: label }));
  const failures = counted("failed");
  $("cards").append(
    card(time(data.durationMs), "from begin to end"),
    card(`${counted("built") + counted("checked")} / ${builds.length}`, failures ? `builds done, ${failures} failed` : "builds done"),
    card(time(work), "in builds, summed up"),
    card(`${(work / total).toFixed(2)}×`, `at once, of ${data.slots}`),
    card(time(criticalMs), `critical path, ${Math.round((100 * criticalMs) / total)} %`),
    card(time(builds.reduce((sum, build) => sum + build.cpuMs, 0)), "of processors"),
    card(size(Math.max(0, ...data.samples.memoryBytes, ...builds.slice(0, 20000).map((build) => build.peakMemoryBytes))), "memory at most"),
  );

  // ---- Choosing a build ----------------------------------------------------------------------------------------

  let chosen = null;
  const describe = (build) =>
    `${build.name}, ${build.status}` +
    (build.begin === undefined ? "" : `, began after ${time(build.begin)}, took ${time(build.took)}`) +
    (build.waited ? `, waited ${time(build.waited)}` : "") +
    (build.critical ? ", on the critical path" : "");
  const choose = (build, { chart = true, table = true } = {}) => {
    chosen = build;
    $("said").textContent = build ? describe(build) : "";
    if (build && chart) showInChart(build);
    if (build && table) showInTable(build);
    draw();
    fillRows();
    if (!$("details").hidden && build) openDetails(build, false);
  };

  // ---- Builds over time ----------------------------------------------------------------------------------------

  const ROW = 18, TOP = 26, LEFT = 8;
  let view = { from: 0, to: total }, isPacked = ran.length > 400, lanes = [];
  const layOut = () => {
    lanes = [];
    if (!isPacked) return ran.forEach((build, index) => { build.row = index; lanes.push(build.end); });
    for (const build of ran) {
      let lane = lanes.findIndex((end) => end <= build.begin);
      if (lane < 0) lane = lanes.length;
      lanes[lane] = build.end;
      build.row = lane;
    }
  };
  const sized = (canvas, width, height) => {
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    return pen;
  };
  const scaleFor = (width) => {
    const perMs = (width - 2 * LEFT) / Math.max(view.to - view.from, 1e-6);
    return { x: (ms) => LEFT + (ms - view.from) * perMs, ms: (x) => view.from + (x - LEFT) / perMs, perMs };
  };
  const steps = (span, count) => {
    const raw = Math.max(span / count, 1);
    const nice = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 15000, 30000, 60000, 120000, 300000, 600000, 900000, 1800000, 3600000];
    return nice.find((step) => step >= raw) || Math.ceil(raw / 3600000) * 3600000;
  };
  const grid = (pen, scale, width, from, to, hasLabels) => {
    const step = steps(view.to - view.from, width / 110);
    pen.strokeStyle = colour("--line");
    pen.fillStyle = colour("--dim");
    pen.lineWidth = 1;
    for (let at = Math.ceil(view.from / step) * step; at <= view.to; at += step) {
      const x = Math.round(scale.x(at)) + 0.5;
      pen.beginPath(); pen.moveTo(x, from); pen.lineTo(x, to); pen.stroke();
      if (hasLabels && x < width - 40) pen.fillText(clock(at, step), x + 4, 10);
    }
  };
  const bar = (pen, x, y, width, height) => {
    pen.beginPath();
    pen.roundRect(x, y, Math.max(width, 1.5), height, Math.min(3, Math.max(width, 1.5) / 2));
    pen.fill();
  };
  let drawnBars = 0;
  const drawGantt = () => {
    const box = $("gantt");
    const width = box.clientWidth, height = box.clientHeight;
    $("gantt-height").style.height = `${Math.max(TOP + lanes.length * ROW + 6, height)}px`;
    const pen = sized($("gantt-canvas"), width, height);
    const scale = scaleFor(width), scroll = box.scrollTop;
    grid(pen, scale, width, 18, height, false);
    pen.save();
    pen.beginPath(); pen.rect(0, TOP - 4, width, height); pen.clip();
    const found = new Map(CAUSES.map(([cause, , name]) => [cause, colour(name)]));
    const colours = new Map(["--failed", "--cancelled", "--inputs", "--critical", "--unchanged", "--built"].map((name) => [name, colour(name)]));
    const text = colour("--text"), dim = colour("--dim"), card = colour("--card"), focus = colour("--focus");
    drawnBars = 0;
    for (const build of ran) {
      const y = TOP + build.row * ROW - scroll;
      if (y < -ROW || y > height) continue;
      const x = scale.x(build.begin), right = scale.x(build.end);
      if (right < 0 || (!isPacked && scale.x(build.knownMs) > width) || (isPacked && x > width)) continue;
      if (!isPacked) {
        // Backwards from the begin: the last wait was the last.
        let at = build.begin;
        for (const cause of ["hook", "user", "lock", "memory", "slot", "inputs"]) {
          const wait = build.waits[cause];
          if (!wait) continue;
          pen.fillStyle = found.get(cause);
          pen.fillRect(scale.x(at - wait), y + 7, Math.max(wait * scale.perMs - 0.5, 0.5), 4);
          at -= wait;
        }
      }
      pen.fillStyle = colours.get(colourOf(build));
      bar(pen, x, y + 2, (right - x) - (isPacked ? 0.5 : 0), ROW - 4);
      drawnBars += 1;
      if (build.phases.length && (right - x) > 30) {
        // Every other phase is a bit darker.
        pen.fillStyle = "#000";
        pen.globalAlpha = 0.16;
        build.phases.forEach((phase, index) => {
          const end = build.phases[index + 1]?.atMs ?? build.end;
          if (index % 2) pen.fillRect(scale.x(phase.atMs), y + 2, (end - phase.atMs) * scale.perMs, ROW - 4);
        });
        pen.globalAlpha = 1;
      }
      if (build === chosen) {
        pen.strokeStyle = focus;
        pen.lineWidth = 2;
        pen.strokeRect(x - 2, y + 0.5, Math.max(right - x, 1.5) + 4, ROW - 1);
      }
      const wide = Math.min(right, width) - Math.max(x, 0), needed = pen.measureText(build.name).width;
      if (wide > needed + 10) {
        pen.fillStyle = root.classList.contains("dark") ? "#0d1117" : "#fff";
        pen.fillText(build.name, Math.max(x, 0) + 5, y + ROW / 2);
      } else if (!isPacked) {
        pen.fillStyle = build === chosen ? text : dim;
        const label = `${build.name}  ${time(build.took)}`;
        const room = pen.measureText(label).width;
        if (right + 6 + room < width) pen.fillText(label, right + 6, y + ROW / 2);
        else if (build.waited === 0 && x - room - 6 > 0) pen.fillText(label, x - room - 6, y + ROW / 2);
      }
    }
    pen.restore();
    // The time stands above what scrolls.
    pen.fillStyle = card;
    pen.fillRect(0, 0, width, 20);
    grid(pen, scale, width, 16, 20, true);
  };
  const drawLoad = () => {
    const canvas = $("load"), width = canvas.parentElement.clientWidth - 32, height = 150;
    const pen = sized(canvas, width, height), scale = scaleFor(width);
    const { atMs, cpuMs, memoryBytes, running } = data.samples;
    grid(pen, scale, width, 0, height, false);
    const strip = (top, tall, values, name, label) => {
      const most = Math.max(1e-9, ...values);
      pen.fillStyle = pen.strokeStyle = colour(name);
      const y = (value) => top + tall - (value / most) * (tall - 18);
      pen.beginPath();
      pen.moveTo(scale.x(0), top + tall);
      values.forEach((value, index) => {
        pen.lineTo(scale.x(index ? atMs[index - 1] : 0), y(value));
        pen.lineTo(scale.x(atMs[index]), y(value));
      });
      pen.lineTo(scale.x(atMs[atMs.length - 1] || 0), top + tall);
      pen.globalAlpha = 0.28; pen.fill();
      pen.globalAlpha = 1; pen.lineWidth = 1.25; pen.stroke();
      pen.fillStyle = colour("--dim");
      pen.fillText(label(most), LEFT, top + 8);
    };
    const cpus = cpuMs.map((ms, index) => ms / Math.max(atMs[index] - (index ? atMs[index - 1] : 0), 1));
    strip(0, 72, cpus, "--cpu", (most) => `Processors used, up to ${most.toFixed(1)} of ${data.processors}`);
    strip(78, 72, memoryBytes, "--memory", (most) => `Memory of builds, up to ${most < 1 ? "nothing that was seen" : size(most)}`);
    canvas.setAttribute("aria-label",
      `Processors and memory over time: at most ${Math.max(0, ...cpus).toFixed(1)} processors, ${size(Math.max(0, ...memoryBytes))}, ${Math.max(0, ...running)} builds at once.`);
  };
  let isPending = false;
  const draw = () => {
    if (isPending) return;
    isPending = true;
    requestAnimationFrame(() => {
      isPending = false;
      drawGantt();
      drawLoad();
      root.dataset.drawn = String(drawnBars);
    });
  };
  const zoom = (factor, around = (view.from + view.to) / 2) => {
    const span = Math.min(total, Math.max((view.to - view.from) * factor, 5));
    const part = (around - view.from) / (view.to - view.from);
    move(around - span * part, span);
  };
  const move = (from, span = view.to - view.from) => {
    const start = Math.max(0, Math.min(from, total - span));
    view = { from: start, to: start + span };
    draw();
  };
  const showInChart = (build) => {
    if (build.row === undefined) return;
    const box = $("gantt"), y = TOP + build.row * ROW;
    if (y < box.scrollTop + TOP) box.scrollTop = y - TOP;
    if (y + ROW > box.scrollTop + box.clientHeight) box.scrollTop = y + ROW - box.clientHeight;
    const span = view.to - view.from;
    if (build.begin > view.to || build.end < view.from) move(build.begin - span / 4, span);
  };
  const at = (event) => {
    const box = $("gantt").getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    if (y < TOP - 4) return null;
    const row = Math.floor((y + $("gantt").scrollTop - TOP) / ROW), scale = scaleFor($("gantt").clientWidth);
    if (!isPacked) return ran[row] || null;
    return ran.find((build) => build.row === row && scale.x(build.begin) - 1 <= x && x <= Math.max(scale.x(build.end), scale.x(build.begin) + 2)) || null;
  };
  $("gantt").addEventListener("mousemove", (event) => {
    const build = at(event), tip = $("tip");
    tip.hidden = !build;
    if (!build) return;
    const waits = CAUSES.filter(([cause]) => build.waits[cause]).map(([cause]) => `waited for ${cause}: ${time(build.waits[cause])}`);
    tip.textContent = [build.name, `${build.status}, ${time(build.took)}${build.critical ? ", on the critical path" : ""}`, ...waits].join("\n");
    tip.style.left = `${Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(event.clientY + 16, window.innerHeight - tip.offsetHeight - 8)}px`;
  });
  $("gantt").addEventListener("mouseleave", () => { $("tip").hidden = true; });
  $("gantt").addEventListener("click", (event) => {
    const build = at(event);
    if (!build) return;
    choose(build, { chart: false });
    openDetails(build);
  });
  $("gantt").addEventListener("scroll", draw);
  $("gantt").addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const box = $("gantt").getBoundingClientRect();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, scaleFor(box.width).ms(event.clientX - box.left));
  }, { passive: false });
  const pack = () => {
    isPacked = !isPacked;
    $("layout").setAttribute("aria-pressed", isPacked);
    layOut();
    $("gantt").scrollTop = 0;
    fit();
    draw();
  };
  const fit = () => { $("gantt").style.height = `${Math.max(120, Math.min(TOP + lanes.length * ROW + 12, 460))}px`; };
  $("layout").addEventListener("click", pack);
  $("zoom-in").addEventListener("click", () => zoom(0.5));
  $("zoom-out").addEventListener("click", () => zoom(2));
  $("zoom-all").addEventListener("click", () => move(0, total));
  const legend = [["built", "--built"], ["on the critical path", "--critical"], ["failed", "--failed"], ["stopped", "--cancelled"], ["unchanged", "--unchanged"]]
    .filter(([, name]) => ran.some((build) => colourOf(build) === name))
    .concat(CAUSES.filter(([cause]) => builds.some((build) => build.waits[cause])).map(([cause, , name]) => [`waits: ${cause}`, name]));
  $("legend").append(...legend.map(([label, name]) =>
    make("li", {}, make("i", { style: { background: `var(${name})` } }), label)));

  // ---- Critical path and waiting -------------------------------------------------------------------------------

  $("critical-text").textContent = critical.length
    ? `${critical.length} build${critical.length === 1 ? "" : "s"}, each needed by the next, took ${time(criticalMs)}: no number of slots makes it quicker than that.`
    : "Nothing was built.";
  const longest = Math.max(1, ...critical.map((build) => build.took));
  // The page shows the beginning of a chain of thousands; the table has all of them.
  $("critical").append(...critical.slice(0, 500).map((build) =>
    make("li", {}, make("button", { type: "button", onclick: () => { choose(build); openDetails(build); } },
      make("span", { className: "name", textContent: build.name }),
      make("span", { className: "meter" }, make("i", { style: { width: `${(100 * build.took) / longest}%`, background: `var(${colourOf(build)})` } })),
      make("span", { className: "number", textContent: time(build.took) })))));

  const sums = CAUSES.map(([cause, label, name]) =>
    ({ cause, label, name, ms: builds.reduce((sum, build) => sum + (build.waits[cause] || 0), 0) }));
  // For inputs everything waits that needs any; so the others are held against each other.
  const waited = sums.slice(1).reduce((sum, one) => sum + one.ms, 0);
  $("waiting").append(
    make("div", { className: "stack", role: "img", ariaLabel: "Shares of the causes" },
      ...sums.slice(1).filter((one) => one.ms).map((one) => make("i", { title: `${one.cause}: ${time(one.ms)}`, style: { width: `${(100 * one.ms) / waited}%`, background: `var(${one.name})` } }))),
    make("table", { className: "causes" }, make("tbody", {}, ...sums.map((one) =>
      make("tr", {},
        make("th", { scope: "row" }, make("i", { style: { background: `var(${one.name})` } }), one.label),
        make("td", { className: "number", textContent: one.ms ? time(one.ms) : "–" }),
        make("td", { className: "number dim", textContent: one.ms && one.cause !== "inputs" ? `${Math.round((100 * one.ms) / waited)} %` : "" }))))),
  );

  // ---- The table -----------------------------------------------------------------------------------------------

  const COLUMNS = [
    ["Build", (build) => build.name, (build) => build.name],
    ["Status", (build) => build.status, (build) => build.status],
    ["Began", (build) => build.begin ?? Infinity, (build) => (build.begin === undefined ? "–" : time(build.begin))],
    ["Waited", (build) => build.waited, (build) => (build.waited ? time(build.waited) : "–")],
    ["Took", (build) => build.took, (build) => (build.begin === undefined ? "–" : time(build.took))],
    ["Processors", (build) => build.cpuMs, (build) => (build.cpuMs ? time(build.cpuMs) : "–")],
    ["Memory", (build) => build.peakMemoryBytes, (build) => size(build.peakMemoryBytes)],
    ["Output", (build) => build.outputBytes || 0, (build) => size(build.outputBytes)],
  ];
  const HEIGHT = 28;
  let sort = { column: 4, isDown: true }, listed = [];
  const list = () => {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const key = COLUMNS[sort.column][1], sign = sort.isDown ? -1 : 1;
    const compare = (one, other) => {
      const left = key(one), right = key(other);
      return (left < right ? -1 : left > right ? 1 : 0) * sign || one.place - other.place;
    };
    listed = builds.filter((build) => words.every((word) => build.text.includes(word))).sort(compare);
    listed.forEach((build, index) => { build.index = index; });
    $("count").textContent = listed.length === builds.length ? `${builds.length}` : `${listed.length} of ${builds.length}`;
    $("rows").style.height = `${listed.length * HEIGHT}px`;
    $("table").setAttribute("aria-rowcount", listed.length + 1);
    [...$("head").children].forEach((cell, column) => {
      const isSorted = column === sort.column;
      cell.setAttribute("aria-sort", isSorted ? (sort.isDown ? "descending" : "ascending") : "none");
      cell.firstChild.textContent = COLUMNS[column][0] + (isSorted ? (sort.isDown ? " ↓" : " ↑") : "");
    });
    fillRows();
  };
  const sortBy = (column) => {
    sort = { column, isDown: sort.column === column ? !sort.isDown : column > 1 && column !== 2 };
    $("table").scrollTop = 0;
    list();
    $("said").textContent = `sorted by ${COLUMNS[column][0]}, ${sort.isDown ? "largest" : "smallest"} first`;
  };
  // Only the rows that can be seen are there.
  const fillRows = () => {
    const box = $("table"), first = Math.max(0, Math.floor(box.scrollTop / HEIGHT) - 4);
    const last = Math.min(listed.length, first + Math.ceil(box.clientHeight / HEIGHT) + 10);
    const active = listed.indexOf(chosen) >= 0 ? `row-${chosen.place}` : "";
    $("rows").replaceChildren(...listed.slice(first, last).map((build, offset) => make("div", {
      className: "row", role: "row", id: `row-${build.place}`, "aria-rowindex": first + offset + 2,
      "aria-selected": String(build === chosen), style: { top: `${(first + offset) * HEIGHT}px` },
      onclick: () => { choose(build, { table: false }); openDetails(build); },
    }, ...COLUMNS.map(([, , show], column) => make("span", { role: "gridcell", className: column > 1 ? "number" : "name" },
      column === 1 ? make("i", { className: "dot", style: { background: `var(${colourOf(build)})` } }) : null, show(build))))));
    box.setAttribute("aria-activedescendant", active);
  };
  const showInTable = (build) => {
    if (listed[build.index] !== build) return;
    const box = $("table"), y = build.index * HEIGHT, head = 34;
    if (y < box.scrollTop) box.scrollTop = y;
    if (y + HEIGHT + head > box.scrollTop + box.clientHeight) box.scrollTop = y + HEIGHT + head - box.clientHeight;
  };
  $("head").append(...COLUMNS.map(([label], column) => make("span", { role: "columnheader" },
    make("button", { type: "button", textContent: label, onclick: () => sortBy(column) }))));
  $("table").addEventListener("scroll", fillRows);
  $("search").addEventListener("input", list);

  // ---- Details -------------------------------------------------------------------------------------------------

  let cameFrom = null;
  const openDetails = (build, takesFocus = true) => {
    const box = $("details");
    const rows = [
      ["Derivation", build.drvPath], ["Status", build.status + (build.critical ? ", on the critical path" : "")],
      ["Machine", build.machine], ["Began", build.begin === undefined ? null : `after ${time(build.begin)}`],
      ["Took", build.begin === undefined ? null : time(build.took)],
      ["Expected", build.expectedMs === undefined ? null : time(build.expectedMs)],
      ["Processors", build.cpuMs ? time(build.cpuMs) : null], ["Memory", build.peakMemoryBytes ? `${size(build.peakMemoryBytes)} at most` : null],
      ["Output", build.outputBytes ? size(build.outputBytes) : null],
      ...CAUSES.map(([cause]) => [`Waited for ${cause}`, build.waits[cause] ? time(build.waits[cause]) : null]),
    ].filter(([, value]) => value);
    const links = (title, places) => {
      const found = places.map((place) => byPlace.get(place)).filter(Boolean);
      if (!found.length) return [];
      return [make("h3", { textContent: `${title} (${found.length})` }), make("ul", { className: "links" }, ...found.slice(0, 200).map((other) =>
        make("li", {}, make("button", { type: "button", onclick: () => { choose(other); openDetails(other); } },
          make("span", { className: "name", textContent: other.name }), make("span", { className: "number", textContent: time(other.took) })))))];
    };
    const phases = build.phases.map((phase, index) =>
      [phase.name, time((build.phases[index + 1]?.atMs ?? build.end ?? phase.atMs) - phase.atMs)]);
    const pairs = (list) => make("dl", {}, ...list.flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: value })]));
    box.replaceChildren(
      make("button", { type: "button", className: "close", textContent: "Close", onclick: closeDetails }),
      make("h2", { id: "details-title", textContent: build.name }), pairs(rows),
      ...(build.message ? [make("h3", { textContent: "Why it failed" }), make("pre", { textContent: [build.message, ...(build.logTail || [])].join("\n") })] : []),
      ...(phases.length ? [make("h3", { textContent: "Phases" }), pairs(phases)] : []),
      ...links("Needs", build.inputs || []), ...links("Is needed by", users[build.place]),
    );
    if (box.hidden) cameFrom = document.activeElement;
    box.hidden = false;
    if (takesFocus) box.focus();
  };
  const closeDetails = () => {
    if ($("details").hidden) return false;
    $("details").hidden = true;
    if (cameFrom && cameFrom.isConnected) cameFrom.focus({ preventScroll: true });
    return true;
  };

  // ---- Colours and keys ----------------------------------------------------------------------------------------

  const system = matchMedia("(prefers-color-scheme: dark)");
  const THEMES = ["system", "light", "dark"];
  let theme = "system";
  const paint = () => {
    root.classList.toggle("dark", theme === "dark" || (theme === "system" && system.matches));
    if (theme === "system") delete root.dataset.theme; else root.dataset.theme = theme;
    $("theme").textContent = `Theme: ${theme}`;
    $("theme").setAttribute("aria-label", `Colours: ${theme === "system" ? "as the system has them" : theme}`);
    draw();
  };
  const nextTheme = () => { theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]; paint(); };
  system.addEventListener("change", paint);
  $("theme").addEventListener("click", nextTheme);
  $("help-open").addEventListener("click", () => $("help").showModal());

  const step = (by) => {
    const inChart = document.activeElement === $("gantt"), order = inChart ? ran : listed;
    if (!order.length) return;
    const now = order.indexOf(chosen);
    const next = by === -Infinity ? 0 : by === Infinity ? order.length - 1
      : now < 0 ? 0 : Math.max(0, Math.min(order.length - 1, now + by));
    choose(order[next]);
  };
  const KEYS = {
    "/": () => { $("search").focus(); $("search").select(); },
    ArrowDown: () => step(1), ArrowUp: () => step(-1), PageDown: () => step(15), PageUp: () => step(-15),
    Home: () => step(-Infinity), End: () => step(Infinity),
    ArrowLeft: () => move(view.from - (view.to - view.from) / 5), ArrowRight: () => move(view.from + (view.to - view.from) / 5),
    Enter: () => chosen && openDetails(chosen), "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: () => move(0, total),
    p: pack, t: nextTheme, "?": () => $("help").showModal(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    const isTyping = event.target === $("search");
    if (event.key === "Escape") {
      if (!closeDetails() && isTyping) { $("search").value = ""; list(); $("table").focus(); }
      return;
    }
    if (isTyping) {
      if (event.key !== "ArrowDown" && event.key !== "Enter") return;
      $("table").focus();
      step(-Infinity);
    } else if (event.target.closest("button") && (event.key === "Enter" || event.key === " ")) {
      return;
    } else if (event.key >= "1" && event.key <= String(COLUMNS.length)) {
      sortBy(Number(event.key) - 1);
    } else if (KEYS[event.key]) {
      if ($("details").contains(event.target) && event.key.startsWith("Arrow")) return;
      KEYS[event.key]();
    } else {
      return;
    }
    event.preventDefault();
  });

  $("layout").setAttribute("aria-pressed", isPacked);
  layOut();
  fit();
  list();
  paint();
  new ResizeObserver(draw).observe($("gantt"));
})();
