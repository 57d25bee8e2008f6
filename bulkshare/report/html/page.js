"use strict";
// Text from servers is only ever inserted with textContent.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { results, changes, causes, matrix, dictionary } = data;
  const at = (id) => document.getElementById(id);
  const make = (tag, properties) => Object.assign(document.createElement(tag), properties);
  const counted = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
  const nameOf = (number) => dictionary.names[number] ?? dictionary.ids[number];
  for (const part of document.querySelectorAll(".needs-script")) part.hidden = false;
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
  // The hash is the filter of the table, so links within the page only scroll.
  for (const link of document.querySelectorAll("a[href^='#']:not([href*='='])")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      at(link.getAttribute("href").slice(1)).scrollIntoView();
    });
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (button) copy(button.dataset.copy, button);
  });

  const filterBy = showTable();
  if (matrix) readMatrix();

  // Not every browser lets a page that was opened from a file use the clipboard; the older way works there.
  async function copy(text, button) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const field = make("textarea", { value: text });
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
      button.focus();
    }
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1200);
  }

  // The matrix: describes the cell below the pointer or the cursor, and filters by it.
  function readMatrix() {
    const picture = at("matrix-picture"), frame = at("matrix-frame"), cursor = at("cursor"), cell = at("cell");
    const rows = matrix.cells.length, columns = matrix.cells[0].length;
    const [wide, high] = matrix.step;
    let row = -1, column = -1;

    const show = (newRow, newColumn) => {
      if (newRow === row && newColumn === column) return;
      [row, column] = [newRow, newColumn];
      cursor.setAttribute("x", matrix.left + column * wide - 1);
      cursor.setAttribute("y", matrix.top + row * high - 1);
      cursor.setAttribute("visibility", "visible");
      const mix = matrix.mixes[matrix.cells[row][column]] ?? [];
      const parts = [];
      let total = 0, bad = 0;
      for (let i = 0; i < mix.length; i += 2) {
        const [word, good] = results[mix[i]];
        total += mix[i + 1];
        if (!good) bad += mix[i + 1];
        parts.push(mix.length === 2 && mix[1] === 1 ? word : `${mix[i + 1].toLocaleString("en")} ${word}`);
      }
      const share = bad && total > 1 ? `${bad.toLocaleString("en")} of ${total.toLocaleString("en")} not as planned; ` : "";
      const on = matrix.clouds[row] && `${matrix.clouds[row]}: `;
      const where = `${on}${matrix.rows[row][0]} with ${matrix.columns[column][0]}`;
      cell.textContent = `${where}: ${share}${parts.join(", ") || "not in this run"}`;
    };
    const found = (event) => {
      const box = picture.getBoundingClientRect();
      const x = Math.floor(((event.clientX - box.left) * picture.viewBox.baseVal.width / box.width - matrix.left) / wide);
      const y = Math.floor(((event.clientY - box.top) * picture.viewBox.baseVal.height / box.height - matrix.top) / high);
      return [y >= 0 && y < rows ? y : -1, x >= 0 && x < columns ? x : -1];
    };
    picture.addEventListener("pointermove", (event) => {
      const [y, x] = found(event);
      if (x >= 0 && y >= 0) show(y, x);
    });
    picture.addEventListener("click", (event) => {
      const [y, x] = found(event); // beside the cells: the row or the column with that name
      if (x >= 0 || y >= 0) filterBy({ row: y < 0 ? "" : `${y + 1}`, column: x < 0 ? "" : `${x + 1}` });
    });
    frame.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && row >= 0) filterBy({ row: `${row + 1}`, column: `${column + 1}` });
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
  // Returns a function that replaces the filter, as a link to it does.
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
    const [RESULT, HTTP, STATUS, ATTEMPTS, REASON, CHANGE, CAUSE] = [0, 1, 2, 3, 4, 5, 6];
    const body = at("table").tBodies[0], names = [...document.querySelectorAll("#table th button")];
    const fields = { text: at("text"), result: at("result"), change: at("change") };
    const days = seconds.some((second) => second >= 86400); // the time of day is not enough then
    const KEYS_OF_HASH = ["text", "result", "change", "cause", "image", "project", "row", "column", "cloud"];
    let shown = [], page = 0, sorted = several ? 3 : 2, descending = false, state = {};

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
    const SORTS = [
      ...(several ? [() => (row) => clouds[row]] : []),
      () => { const ranked = ranksOfNames(); return (row) => ranked[images[row]]; },
      () => { const ranked = ranksOfNames(); return (row) => ranked[projects[row]]; },
      () => wayNumbers(RESULT), () => wayNumbers(HTTP), () => wayTexts(STATUS), () => wayNumbers(ATTEMPTS),
      () => (row) => seconds[row], () => wayTexts(REASON),
    ];

    // By the chosen column, then by the names of image and project.
    function sort() {
      const key = SORTS[sorted](), sign = descending ? -1 : 1, name = ranksOfNames();
      const keys = new Float64Array(total);
      for (const row of shown) keys[row] = key(row);
      shown.sort((a, b) => sign * (keys[a] - keys[b]) || clouds[a] - clouds[b]
        || name[images[a]] - name[images[b]] || name[projects[a]] - name[projects[b]] || a - b);
    }

    // --- the filter ---
    const read = () => {
      const given = new URLSearchParams(location.hash.slice(1));
      return Object.fromEntries(KEYS_OF_HASH.map((key) => [key, given.get(key) ?? ""]));
    };
    const write = () => {
      const given = new URLSearchParams(KEYS_OF_HASH.filter((key) => state[key]).map((key) => [key, state[key]]));
      const hash = given.toString();
      history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
    };
    const partOf = (kind, number) => matrix && /^\d+$/.test(number) ? matrix[kind][number - 1] : undefined;
    const cloudNumber = (name) => table.clouds.findIndex(([known]) => known === name);
    const numbersOf = (id) => new Set(dictionary.ids.flatMap((known, i) => known === id ? [i] : []));

    // What the filter says beyond its fields, in words, and how to test a row for it.
    const CHOICES = {
      cause: (value) => /^\d+$/.test(value) && causes[value] !== undefined
        && [`reason: ${causes[value]}`, (row) => way[ways[row]][CAUSE] === +value],
      image: (value) => { const known = numbersOf(value); return [`image ${labelOf(known, value)}`, (row) => known.has(images[row])]; },
      project: (value) => { const known = numbersOf(value); return [`project ${labelOf(known, value)}`, (row) => known.has(projects[row])]; },
      row: (value) => {
        const part = partOf("rows", value);
        if (!part) return false;
        const known = new Set(summed(part[1])); // an image on two clouds has two rows
        return [part[0], (row) => known.has(images[row] * table.clouds.length + clouds[row])];
      },
      column: (value) => {
        const part = partOf("columns", value);
        if (!part) return false;
        const known = new Set(summed(part[1]));
        return [part[0], (row) => known.has(projects[row])];
      },
      cloud: (value) => { const number = cloudNumber(value); return [`cloud ${value}`, (row) => clouds[row] === number]; },
    };
    const labelOf = (known, value) => known.size ? nameOf([...known][0]) : value;
    const numberOf = (words, word) => words.findIndex((one) => one === word);
    const offered = (field, value) => [...field?.options ?? []].some((option) => option.value === value);

    function filter() {
      const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
      const found = words.map((word) => ({
        name: dictionary.ids.map((id, i) => id.toLowerCase().includes(word)
          || (dictionary.names[i] ?? "").toLowerCase().includes(word)),
        way: way.map((one) => `${results[one[RESULT]][0]} ${one[HTTP] ?? ""} ${one[STATUS]} ${one[REASON]}`
          .toLowerCase().includes(word)),
        cloud: table.clouds.map(([name]) => several && name.toLowerCase().includes(word)),
        word,
      }));
      const { result, change } = state;
      const code = numberOf(results.map(([word]) => word), result), changed = numberOf(changes, change);
      const wanted = way.map((one) => (result === "" || (result === "bad" ? !results[one[RESULT]][1] : one[RESULT] === code))
        && (change === "" || one[CHANGE] === changed));
      const chosen = Object.entries(CHOICES).flatMap(([key, choice]) => {
        const made = state[key] !== "" && choice(state[key]);
        return made ? [[key, ...made]] : [];
      });
      shown = [];
      for (let row = 0; row < total; row++) {
        if (wanted[ways[row]] && chosen.every(([, , test]) => test(row))
          && found.every((one) => one.name[images[row]] || one.name[projects[row]]
          || one.way[ways[row]] || one.cloud[clouds[row]] || table.requests[row]?.includes(one.word))) shown.push(row);
      }
      at("chosen").replaceChildren(...chosen.map(([key, words]) => {
        const button = make("button", { type: "button", className: "chip", title: "Remove this filter" });
        button.append(make("bdi", { textContent: words }), " ×");
        button.addEventListener("click", () => apply({ ...state, [key]: "" }));
        return button;
      }));
      if (Object.values(state).some(Boolean)) {
        const all = make("button", { type: "button", className: "chip all", textContent: "Show all pairs" });
        all.addEventListener("click", () => apply(Object.fromEntries(KEYS_OF_HASH.map((key) => [key, ""]))));
        at("chosen").append(all);
      }
      page = 0;
      sort();
      draw();
    }

    // Take over a filter, from the fields or the hash.
    function apply(to) {
      state = to;
      for (const [key, field] of Object.entries(fields)) {
        if (field && field.value !== state[key]) field.value = state[key] === "" || key === "text" || offered(field, state[key]) ? state[key] : "";
      }
      write();
      filter();
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
      at("csv").disabled = !shown.length;
    }

    const timeOf = (row) => new Date((table.began + Math.max(0, seconds[row])) * 1000).toISOString();
    const reasonOf = (row) => way[ways[row]][REASON]
      .replaceAll("\x01", dictionary.ids[images[row]]).replaceAll("\x02", dictionary.ids[projects[row]]);

    function line(row) {
      const [result, http, status, attempts] = way[ways[row]];
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
      put(seconds[row] < 0 ? "" : timeOf(row).slice(days ? 0 : 11, 19).replace("T", " "));
      put(reasonOf(row), table.requests[row] ? make("small", { className: "id", textContent: table.requests[row] }) : "");
      return element;
    }

    function named(number) {
      const id = dictionary.ids[number], name = dictionary.names[number];
      const button = make("button", { type: "button", className: "copy", title: `Copy ${id}`, ariaLabel: `Copy ${id}` });
      button.dataset.copy = id;
      const shownId = make(name === undefined ? "span" : "small", { className: "id" });
      shownId.append(make("bdi", { textContent: id }), " ", button);
      return name === undefined ? [shownId] : [make("bdi", { textContent: name }), shownId];
    }
    function resultWord(word) {
      const element = make("span", { className: "result" });
      element.append(at(`w-${word}`).content.cloneNode(true), word);
      return element;
    }

    // As `bulkshare export --format csv`: what a spreadsheet would take for a formula gets an apostrophe.
    function saveCsv() {
      const cell = (value) => {
        const text = `${value ?? ""}`;
        const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
        return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
      };
      const head = ["cloud", "image_id", "image_name", "member_id", "member_name", "result", "http_status", "status",
        "attempts", "request_id", "reason", "settled_at"];
      const lines = shown.map((row) => {
        const [result, http, status, attempts] = way[ways[row]];
        return [table.clouds[clouds[row]][0], dictionary.ids[images[row]], dictionary.names[images[row]],
          dictionary.ids[projects[row]], dictionary.names[projects[row]], results[result][0], http, status, attempts,
          table.requests[row], reasonOf(row), seconds[row] < 0 ? "" : timeOf(row).replace(".000", "")].map(cell).join(",");
      });
      const url = URL.createObjectURL(new Blob([`${[head.join(","), ...lines].join("\r\n")}\r\n`], { type: "text/csv" }));
      make("a", { href: url, download: `${data.file}.csv` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
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
    offer(fields.result, "any", [["bad", "not as planned", bad],
      ...results.map(([word], code) => [word, word, byResult.get(code)])]);
    if (fields.change) {
      const byChange = tally(CHANGE);
      offer(fields.change, "any", changes.map((word, number) => [word, word, byChange.get(number)]));
    }

    const typed = () => apply({ ...state, text: fields.text.value, result: fields.result.value,
      change: fields.change?.value ?? "" });
    let waiting = 0;
    fields.text.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(typed, 120); });
    for (const select of [fields.result, fields.change]) select?.addEventListener("change", typed);
    at("filters").addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(waiting); typed(); });
    at("csv").addEventListener("click", saveCsv);
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
    const follow = () => {
      apply(read());
      if (Object.values(state).some(Boolean)) at("pairs").scrollIntoView();
    };
    addEventListener("hashchange", follow);
    // A link whose filter is the current one changes no hash, but should lead to the table as well.
    document.addEventListener("click", (event) => {
      const href = event.target.closest?.("a")?.getAttribute("href");
      if (href?.includes("=") && href === location.hash) at("pairs").scrollIntoView();
    });
    if (location.hash.includes("=")) follow();
    else apply(read());
    return (some) => {
      apply({ ...Object.fromEntries(KEYS_OF_HASH.map((key) => [key, ""])), ...some });
      at("pairs").scrollIntoView();
    };
  }
})();
