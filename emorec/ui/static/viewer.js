// The viewer of one video: persons, the annotated video, probabilities over
// time and the attention map, all at the playhead. Runs inside a `gr.HTML`:
// `element`, `props` and `watch` are given. Names of files and labels come
// from outside: they become text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";
const MOST_LOOKED_AT = 5;
// Rows of labels in the timeline, those that come highest.
const MOST_ROWS = 10;
let stopBefore = () => {};

function make(tag, attributes = {}, ...children) {
  const isSvg = ["svg", "g", "path", "rect", "line", "text"].includes(tag);
  const made = isSvg
    ? document.createElementNS(SVG, tag)
    : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((c) => c !== null));
  return made;
}

const seconds = (t) => `${t.toFixed(t < 10 ? 2 : 1)} s`;
const percent = (p) => `${(100 * p).toFixed(p < 0.1 ? 1 : 0)} %`;
const best = (values) => values.indexOf(Math.max(...values));

const confidence = (of, person) => `${percent(of.confidence)} confidence, ${
  person.calibrated ? "calibrated" : "not calibrated"}`;

function personCard(data, person) {
  const chips = [];
  if (person.uncertain) chips.push(make("span", { class: "chip" }, "uncertain"));
  return make(
    "button",
    { class: "card", type: "button", "data-track": person.track },
    make(
      "span",
      { class: "who" },
      // The colour of the person's box in the video.
      make("i", { style: `background:${person.colour}` }),
      `Person ${person.track}`,
    ),
    make("span", { class: "label" }, person.label, ...chips),
    make("span", { class: "soft" }, confidence(person, person)),
    make(
      "span",
      { class: "soft" },
      `a face in ${person.with_face} of ${person.frames} frames looked at`,
    ),
  );
}

// Bars of the selected person's answer at the playhead.
function drawNow(at, data, person, time) {
  const span = person.spans.find((s) => s.start <= time && time < s.end) ||
    (time >= data.duration - 0.3 && person.spans.at(-1)) || null;
  at.replaceChildren();
  if (!span) {
    at.append(make("h4", {}, `Person ${person.track} at ${seconds(time)}`));
    at.append(make("p", { class: "soft" }, "Not in the picture."));
    return;
  }
  at.append(make(
    "h4", {}, `Person ${person.track}, ${seconds(span.start)} to ${
      seconds(span.end)}`,
  ));
  at.append(make(
    "p", { class: "soft" },
    `${confidence(span, person)}${span.uncertain ? ": uncertain" : ""}. ` +
    "The bars are the model's own probabilities.",
  ));
  const order = data.labels.map((_, i) => i)
    .sort((a, b) => span.probabilities[b] - span.probabilities[a]);
  for (const i of order) {
    const p = span.probabilities[i];
    at.append(make(
      "div", { class: "bar" },
      make("span", {}, data.labels[i]),
      make("b", {}, make("i", {
        style: `width:${100 * p}%`,
        class: i === order[0] ? "answer" : null,
      })),
      make("span", {}, percent(p)),
    ));
  }
}

// A lane a person with their answers; below, for the selected one, a row a
// label whose height is the label's probability.
function drawTimeline(at, data, selected, width) {
  const left = 92, right = 12, lane = 30, row = 25;
  const rows = highest(selected, data.labels.length);
  const peak = Math.max(...selected.spans.map((s) =>
    Math.max(...s.probabilities)));
  const full = Math.min(1, Math.ceil(10 * peak + 1e-6) / 10);
  const base = 8 + data.people.length * lane + 14;
  const foot = base + rows.length * row;
  const height = foot + 26;
  const inner = Math.max(width - left - right, 50);
  const x = (t) => left + (inner * Math.min(t, data.duration)) / data.duration;
  const svg = make("svg", {
    viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
    "aria-label": "Probabilities over time",
  });
  const box = (from, to, y, high, kind) => svg.append(make("rect", {
    x: x(from), y, width: Math.max(x(to) - x(from) - 1, 1), height: high,
    class: kind,
  }));
  const write = (text, at, y, kind, anchor) => svg.append(make("text", {
    x: at, y, class: kind, "text-anchor": anchor,
  }, text));
  data.people.forEach((person, i) => {
    const y = 8 + i * lane;
    write(`Person ${person.track}`, left - 8, y + 15,
      person === selected ? "strong" : "", "end");
    box(0, data.duration, y, 20, "lane");
    for (const span of person.spans) {
      box(span.start, span.end, y, 20, span.uncertain ? "unsure" : "answer");
      const name = data.labels[best(span.probabilities)];
      if (x(span.end) - x(span.start) > 8 * name.length + 8) {
        write(name, x(span.start) + 6, y + 14,
          span.uncertain ? "within onpale" : "within", "start");
      }
    }
    for (const [from, to] of person.faces) box(from, to, y + 22, 3, "face");
  });
  rows.forEach((label, i) => {
    const y = base + (i + 1) * row;
    svg.append(make("line", {
      x1: left, x2: left + inner, y1: y, y2: y, class: "grid",
    }));
    write(shortened(data.labels[label]), left - 8, y - 5, "", "end");
    for (const span of selected.spans) {
      const high = (row - 4) * Math.min(1, span.probabilities[label] / full);
      const kind = best(span.probabilities) !== label ? "other"
        : span.uncertain ? "unsure" : "answer";
      box(span.start, span.end, y - high, high, kind);
    }
  });
  const step = tick(data.duration, inner / 70);
  for (let t = 0; t <= data.duration + 1e-6; t += step) {
    write(`${+t.toFixed(2)} s`, x(t), height - 8, "",
      x(t) > left + inner - 16 ? "end" : "middle");
  }
  const head = make("line", {
    y1: 0, y2: foot, class: "playhead", x1: left, x2: left,
  });
  svg.append(head);
  at.replaceChildren(svg);
  return {
    full,
    move(time) {
      head.setAttribute("x1", x(time));
      head.setAttribute("x2", x(time));
    },
    timeAt(clientX) {
      const seen = svg.getBoundingClientRect();
      const at = (clientX - seen.left) * (width / seen.width);
      return data.duration * Math.min(Math.max((at - left) / inner, 0), 1);
    },
  };
}

// Labels of a person that get a row, in the label set's order.
function highest(person, count) {
  const peak = (i) => Math.max(...person.spans.map((s) => s.probabilities[i]));
  return Array.from({ length: count }, (_, i) => i)
    .sort((a, b) => peak(b) - peak(a))
    .slice(0, MOST_ROWS)
    .sort((a, b) => a - b);
}

const shortened = (name) => name.length > 12 ? `${name.slice(0, 11)}…` : name;

function tick(duration, most) {
  for (const step of [0.1, 0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600]) {
    if (duration / step <= most) return step;
  }
  return 1800;
}

// The window of a person that the time lies in; where they overlap, the one
// whose middle is nearest.
function windowAt(data, person, time) {
  const off = (w) => Math.abs((w.start + w.end) / 2 - time);
  const found = data.windows.filter(
    (w) => w.track === person.track && w.start <= time + 1e-3 &&
      time <= w.end + 0.3,
  );
  return found.sort((a, b) => off(a) - off(b))[0] || null;
}

function nearest(times, time) {
  let best = 0;
  times.forEach((t, i) => {
    if (Math.abs(t - time) < Math.abs(times[best] - time)) best = i;
  });
  return best;
}

function drawMap(at, found, dark) {
  const size = found.times.length, cell = Math.max(2, Math.floor(256 / size));
  const canvas = make("canvas", {
    width: size * cell, height: size * cell, role: "img",
    "aria-label": "Attention map",
  });
  const pen = canvas.getContext("2d");
  const shades = Uint8Array.from(atob(found.shades), (c) => c.charCodeAt(0));
  pen.fillStyle = dark ? "#1d2530" : "#ffffff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = dark ? "#6da0ff" : "#1f4f96";
  shades.forEach((shade, i) => {
    pen.globalAlpha = shade / 255;
    pen.fillRect((i % size) * cell, Math.floor(i / size) * cell, cell, cell);
  });
  const row = make("div", { class: "row" });
  row.style.height = `${100 / size}%`;
  at.replaceChildren(canvas, row);
  return { row, shades, size };
}

function drawLooked(at, data, found, map, row, seek) {
  const weights = [...map.shades.slice(row * map.size, (row + 1) * map.size)];
  const order = weights.map((_, i) => i)
    .sort((a, b) => weights[b] - weights[a])
    .slice(0, MOST_LOOKED_AT)
    .sort((a, b) => a - b);
  at.replaceChildren();
  for (const i of order) {
    const share = (weights[i] / 255) * found.peak;
    const picture = found.pictures && data.pictures[found.pictures[i]];
    const button = make(
      "button", { type: "button", class: "frame", title: "Go to this frame" },
      picture ? make("img", { src: picture, alt: "", loading: "lazy" }) : null,
      make("span", {}, `${seconds(found.times[i])}: ${percent(share)}`),
    );
    button.addEventListener("click", () => seek(found.times[i]));
    at.append(button);
  }
}

function show(root, data) {
  stopBefore();
  root.replaceChildren();
  if (!data || !data.name) return;
  const part = (name, ...children) =>
    make("div", { class: name }, ...children);
  root.append(make("h3", {}, data.name));
  for (const text of data.warnings) root.append(make("p", { class: "warn" }, text));
  const video = make("video", {
    src: data.video, controls: "", playsinline: "", preload: "auto", muted: "",
  });
  if (!data.people.length) {
    root.append(make("p", { class: "warn" }, data.nobody), part("picture", video));
    return;
  }
  const cards = part("cards", ...data.people.map((p) => personCard(data, p)));
  const now = part("now"), line = part("timeline"), map = part("map");
  const looked = part("looked"), about = make("p", { class: "soft" });
  const said = make("p", { class: "soft" });
  const attention = part("attention",
    make("h4", {}, "Attention: what the model looked at"),
    said,
    part("two",
      part("mapbox", map, make("span", { class: "axis" },
        "context frames, from first to last →"),
      make("span", { class: "axis side" }, "face frames, time runs down →")),
      looked));
  root.append(
    cards, part("two", part("picture", video), now),
    make("h4", {}, "Probabilities over time"),
    about,
    line, attention);

  let selected = data.people[0], chart = null, current = null, drawn = null;
  const seek = (time) => { video.currentTime = Math.max(0, time + 1e-3); };

  function draw() {
    const time = Math.min(video.currentTime, data.duration);
    chart.move(time);
    drawNow(now, data, selected, time);
    const found = windowAt(data, selected, time);
    const dark = document.body.classList.contains("dark");
    attention.hidden = !data.windows.length;
    attention.classList.toggle("none", !found);
    if (!found) {
      said.textContent = data.windows.length
        ? "There is no map of the chosen person here." : "";
      current = null;
      looked.replaceChildren();
      map.replaceChildren();
      return;
    }
    if (found !== current) {
      current = found;
      drawn = drawMap(map, found, dark);
    }
    const row = nearest(found.times, time);
    drawn.row.style.top = `${(100 * row) / drawn.size}%`;
    root.dataset.row = row;
    said.textContent =
      `Before the face of person ${selected.track} at ${
        seconds(found.times[row])} was read, these frames of the surroundings ` +
      "weighed most. In the map, that is the framed row; a stronger blue is " +
      `more (the strongest: ${percent(found.peak)}).` + (found.even
        ? " This map is nearly even: no frame weighed much more than others."
        : "");
    drawLooked(looked, data, found, drawn, row, seek);
  }

  function layout() {
    const width = Math.max(line.clientWidth || root.clientWidth, 300);
    chart = drawTimeline(line, data, selected, width);
    about.textContent =
      "A lane for each person, with the answers (in a weaker blue where " +
      "uncertain); the thin line tells when the face was seen. Below, the " +
      "probability of " +
      `each label for person ${selected.track}: a row is ${
        percent(chart.full)} high, and blue where the label is the answer. ` +
      "Click to go there.";
    for (const card of cards.children) {
      const isIt = +card.dataset.track === selected.track;
      card.setAttribute("aria-pressed", isIt);
    }
    draw();
  }

  let dragging = false;
  line.addEventListener("pointerdown", (e) => {
    dragging = true;
    line.setPointerCapture(e.pointerId);
    seek(chart.timeAt(e.clientX));
  });
  line.addEventListener("pointermove", (e) => {
    if (dragging) seek(chart.timeAt(e.clientX));
  });
  line.addEventListener("pointerup", () => { dragging = false; });
  line.addEventListener("pointercancel", () => { dragging = false; });
  map.addEventListener("click", (e) => {
    if (!current) return;
    const box = map.getBoundingClientRect();
    const row = Math.floor((current.times.length * (e.clientY - box.top)) /
      box.height);
    seek(current.times[Math.min(Math.max(row, 0), current.times.length - 1)]);
  });
  cards.addEventListener("click", (e) => {
    const card = e.target.closest(".card");
    if (!card) return;
    selected = data.people.find((p) => p.track === +card.dataset.track);
    current = null;
    layout();
  });
  for (const name of ["seeked", "timeupdate", "loadeddata"]) {
    video.addEventListener(name, draw);
  }
  // `timeupdate` comes four times a second only.
  let frame = 0;
  const follow = () => {
    draw();
    frame = video.paused || video.ended ? 0 : requestAnimationFrame(follow);
  };
  video.addEventListener("play", () => { frame = requestAnimationFrame(follow); });
  const watched = new ResizeObserver(() => {
    if (Math.abs(line.clientWidth - +line.dataset.width) < 2) return;
    line.dataset.width = line.clientWidth;
    layout();
  });
  line.dataset.width = line.clientWidth;
  layout();
  watched.observe(line);
  stopBefore = () => { watched.disconnect(); cancelAnimationFrame(frame); };
}

const redraw = () => show(element.querySelector(".viewer"), props.value);
watch("value", redraw);
redraw();
