"use strict";
// Text from servers is only ever inserted with textContent.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { results, changes, matrix, dictionary } = data;
  const at = (id) => document.getElementById(id);
  const counted = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
  const nameOf = (number) => dictionary.names[number] ?? dictionary.ids[number];
  for (const part of document.querySelectorAll(".needs-script")) part.hidden = false;
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));

  if (matrix) readMatrix();
  showTable();

  // The matrix: describes the cell below the pointer or the cursor.
  function readMatrix() {
    const picture = at("matrix-picture"), frame = at("matrix-frame"), cursor = at("cursor"), cell = at("cell");
    const rows = matrix.cells.length, columns = matrix.cells[0].length;
    const [wide, high] = matrix.step;
    let row = -1, column = -1;

    const side = ([count, perCell, edges], index, word) => {
      const [first, last] = edges[index];
      if (first === last) return nameOf(first);
      const start = index * perCell + 1, end = Math.min(count, start + perCell - 1);
      return `${word} ${start.toLocaleString("en")} to ${end.toLocaleString("en")} (${nameOf(first)} to ${nameOf(last)})`;
    };
    const show = (newRow, newColumn) => {
      if (newRow === row && newColumn === column) return;
      [row, column] = [newRow, newColumn];
      cursor.setAttribute("x", matrix.left + column * wide - 1);
      cursor.setAttribute("y", matrix.top + row * high - 1);
      cursor.setAttribute("visibility", "visible");
      const mix = matrix.mixes[matrix.cells[row][column]] ?? [];
      const parts = [];
      for (let i = 0; i < mix.length; i += 2) {
        const word = results[mix[i]][0];
        parts.push(mix.length === 2 && mix[1] === 1 ? word : `${mix[i + 1].toLocaleString("en")} ${word}`);
      }
      const on = matrix.clouds[row] && `${matrix.clouds[row]}: `;
      const where = `${on}${side(matrix.images, row, "images")} with ${side(matrix.projects, column, "projects")}`;
      cell.textContent = `${where}: ${parts.join(", ") || "not in this run"}`;
    };
    picture.addEventListener("pointermove", (event) => {
      const box = picture.getBoundingClientRect();
      const x = Math.floor(((event.clientX - box.left) * picture.viewBox.baseVal.width / box.width - matrix.left) / wide);
      const y = Math.floor(((event.clientY - box.top) * picture.viewBox.baseVal.height / box.height - matrix.top) / high);
      if (x >= 0 && y >= 0 && x < columns && y < rows) show(y, x);
    });
    frame.addEventListener("keydown", (event) => {
      const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
        Home: [0, -columns], End: [0, columns], PageUp: [-10, 0], PageDown: [10, 0] };
      const move = moves[event.key];
      if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      const to = (from, by, most) => Math.max(0, Math.min(most - 1, from < 0 ? 0 : from + by));
      show(to(row, move[0], rows), to(column, move[1], columns));
      const x = matrix.left + column * wide - frame.scrollLeft;
      if (x < 0 || x + wide > frame.clientWidth) frame.scrollLeft += x - frame.clientWidth / 2;
    });
  }

  // The table: rows are numbers; texts are compared and searched once per dictionary entry, not once per row.
  function showTable() {
    const PAGE = 100;
    const { table } = data;
    const total = table.ways.length;
    const images = new Uint32Array(total);
    let filled = 0;
    for (const [image, count] of table.images) images.fill(image, filled, filled += count);
    const summed = (differences) => { let sum = 0; return Int32Array.from(differences, (one) => sum += one); };
    const [projects, ways, seconds] = [table.projects, table.ways, table.seconds].map(summed);
    const clouds = new Uint16Array(total), several = table.clouds.length > 1;
    filled = 0;
    table.clouds.forEach(([, count], cloud) => clouds.fill(cloud, filled, filled += count));
    const { way } = table;
    const [RESULT, HTTP, STATUS, ATTEMPTS, REASON, CHANGE] = [0, 1, 2, 3, 4, 5];
    const body = at("table").tBodies[0], names = [...document.querySelectorAll("th button")];
    const choices = { result: at("result"), change: at("change") };
    const days = seconds.some((second) => second >= 86400); // the time of day is not enough then
    let shown = [], page = 0, sorted = several ? 3 : 2, descending = false;

    const ranks = (texts) => {
      const order = texts.map((_, i) => i);
      const collator = new Intl.Collator("en", { numeric: true });
      order.sort((a, b) => collator.compare(texts[a], texts[b]));
      const ranked = new Uint32Array(texts.length);
      order.forEach((number, rank) => {
        const before = order[rank - 1];
        ranked[number] = rank && texts[before] === texts[number] ? ranked[before] : rank;
      });
      return ranked;
    };
    let rankOfName; // computed on first use: sorting many names takes a moment
    const ranksOfNames = () => rankOfName ??= ranks(dictionary.ids.map((_, i) => nameOf(i)));
    const ofWay = (values) => (row) => values[ways[row]];
    const wayTexts = (field) => ofWay(ranks(way.map((one) => one[field])));
    const wayNumbers = (field) => ofWay(way.map((one) => one[field] ?? -1));
    const KEYS = [
      ...(several ? [() => (row) => clouds[row]] : []),
      () => { const ranked = ranksOfNames(); return (row) => ranked[images[row]]; },
      () => { const ranked = ranksOfNames(); return (row) => ranked[projects[row]]; },
      () => wayNumbers(RESULT), () => wayNumbers(HTTP), () => wayTexts(STATUS), () => wayNumbers(ATTEMPTS),
      () => (row) => seconds[row], () => wayTexts(REASON),
    ];

    function sort() {
      const key = KEYS[sorted](), sign = descending ? -1 : 1;
      const keys = new Float64Array(total);
      for (const row of shown) keys[row] = key(row);
      shown.sort((a, b) => sign * (keys[a] - keys[b]) || a - b);
    }

    function filter() {
      const words = at("text").value.toLowerCase().split(/\s+/).filter(Boolean);
      const found = words.map((word) => ({
        name: dictionary.ids.map((id, i) => id.toLowerCase().includes(word)
          || (dictionary.names[i] ?? "").toLowerCase().includes(word)),
        way: way.map((one) => `${results[one[RESULT]][0]} ${one[HTTP] ?? ""} ${one[STATUS]} ${one[REASON]}`
          .toLowerCase().includes(word)),
        cloud: table.clouds.map(([name]) => several && name.toLowerCase().includes(word)),
        word,
      }));
      const result = choices.result.value, change = choices.change?.value ?? "";
      const wanted = way.map((one) => (result === "" || (result === "bad" ? !results[one[RESULT]][1] : one[RESULT] === +result))
        && (change === "" || one[CHANGE] === +change));
      shown = [];
      for (let row = 0; row < total; row++) {
        if (wanted[ways[row]] && found.every((one) => one.name[images[row]] || one.name[projects[row]]
          || one.way[ways[row]] || one.cloud[clouds[row]] || table.requests[row]?.includes(one.word))) shown.push(row);
      }
      page = 0;
      sort();
      draw();
    }

    function draw() {
      const pages = Math.max(1, Math.ceil(shown.length / PAGE));
      body.replaceChildren(...shown.slice(page * PAGE, (page + 1) * PAGE).map(line));
      names.forEach((button, i) => {
        if (i === sorted) button.parentNode.setAttribute("aria-sort", descending ? "descending" : "ascending");
        else button.parentNode.removeAttribute("aria-sort");
      });
      at("shown").textContent = shown.length === total
        ? counted(total, "pair") : `${shown.length.toLocaleString("en")} of ${counted(total, "pair")}`;
      at("place").textContent = `Page ${(page + 1).toLocaleString("en")} of ${pages.toLocaleString("en")}`;
      at("first").disabled = at("previous").disabled = page === 0;
      at("last").disabled = at("next").disabled = page === pages - 1;
    }

    function line(row) {
      const [result, http, status, attempts, reason] = way[ways[row]];
      const element = document.createElement("tr");
      const put = (...parts) => {
        const cell = document.createElement("td");
        cell.dataset.name = names[element.cells.length].textContent;
        cell.append(...parts.filter((part) => part !== ""));
        element.append(cell);
      };
      if (several) put(table.clouds[clouds[row]][0]);
      put(...named(images[row]));
      put(...named(projects[row]));
      put(resultWord(results[result][0]));
      put(http ?? "");
      put(status);
      put(attempts || "");
      const time = new Date((table.began + Math.max(0, seconds[row])) * 1000).toISOString();
      put(seconds[row] < 0 ? "" : time.slice(days ? 0 : 11, 19).replace("T", " "));
      const text = reason.replaceAll("\x01", dictionary.ids[images[row]]).replaceAll("\x02", dictionary.ids[projects[row]]);
      put(text, table.requests[row] ? small(table.requests[row]) : "");
      return element;
    }

    function named(number) {
      const id = dictionary.ids[number], name = dictionary.names[number];
      if (name !== undefined) return [Object.assign(document.createElement("bdi"), { textContent: name }), small(id)];
      return [Object.assign(document.createElement("span"), { className: "id", textContent: id })];
    }
    function small(text) {
      return Object.assign(document.createElement("small"), { className: "id", textContent: text });
    }
    function resultWord(word) {
      const element = Object.assign(document.createElement("span"), { className: "result" });
      element.append(at(`w-${word}`).content.cloneNode(true), word);
      return element;
    }

    function offer(select, all, entries) {
      select.append(new Option(all, ""), ...entries.filter(([, , count]) => count).map(([value, word, count]) =>
        new Option(`${word} (${count.toLocaleString("en")})`, value)));
    }
    const tally = (field) => {
      const counts = new Map();
      for (const number of ways) counts.set(way[number][field], (counts.get(way[number][field]) ?? 0) + 1);
      return counts;
    };
    const byResult = tally(RESULT);
    const bad = results.reduce((sum, [, good], code) => sum + (good ? 0 : byResult.get(code) ?? 0), 0);
    offer(choices.result, "any", [["bad", "not as planned", bad],
      ...results.map(([word], code) => [code, word, byResult.get(code)])]);
    if (choices.change) {
      const byChange = tally(CHANGE);
      offer(choices.change, "any", changes.map((word, number) => [number, word, byChange.get(number)]));
    }

    let waiting = 0;
    at("text").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 120); });
    for (const select of Object.values(choices)) select?.addEventListener("change", filter);
    at("filters").addEventListener("submit", (event) => { event.preventDefault(); filter(); });
    names.forEach((button, i) => button.addEventListener("click", () => {
      descending = i === sorted && !descending;
      sorted = i;
      page = 0;
      sort();
      draw();
    }));
    const turn = (to) => () => { page = Math.max(0, Math.min(Math.ceil(shown.length / PAGE) - 1, to())); draw(); };
    at("first").addEventListener("click", turn(() => 0));
    at("previous").addEventListener("click", turn(() => page - 1));
    at("next").addEventListener("click", turn(() => page + 1));
    at("last").addEventListener("click", turn(() => Infinity));
    filter();
  }
})();
