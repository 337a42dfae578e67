// Sorts and filters the table of samples. Without it the page is complete, in its first order.
(() => {
  "use strict";
  const table = document.getElementById("samples");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  const text = (row, column) => row.cells[column].textContent.trim();

  // What has no value, a dash or nothing, stays last whichever way the rest is sorted.
  const key = (row, column, isText) => {
    const shown = text(row, column);
    if (isText) return shown === "–" || shown === "" ? null : shown.toLowerCase();
    const number = parseFloat(shown);
    return Number.isNaN(number) ? null : number;
  };

  const sort = (column) => {
    const head = heads[column];
    const turn = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const isText = head.classList.contains("text");
    const keyed = rows.map((row, place) => ({ row, place, key: key(row, column, isText) }));
    keyed.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.place - b.place;
      if (a.key === b.key) return a.place - b.place;
      return a.key < b.key ? -turn : turn;
    });
    for (const other of heads) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", turn === 1 ? "ascending" : "descending");
    body.append(...keyed.map((each) => each.row));
  };

  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (button) button.addEventListener("click", () => sort(column));
  });

  const filter = document.getElementById("filter");
  const state = document.getElementById("state");
  const shown = document.getElementById("shown");
  const kept = {
    "": () => true,
    sane: (row) => text(row, 3) === "sane",
    novel: (row) => text(row, 3) === "sane" && text(row, 4) === "novel",
    reject: (row) => text(row, 3) !== "sane",
  };
  const choose = () => {
    const wanted = filter.value.trim().toLowerCase();
    let count = 0;
    for (const row of rows) {
      const words = [text(row, 2), text(row, 3)].join("\n").toLowerCase();
      row.hidden = !(kept[state.value](row) && words.includes(wanted));
      count += row.hidden ? 0 : 1;
    }
    const all = `${rows.length.toLocaleString("en")} rows`;
    shown.textContent = count === rows.length ? all : `${count.toLocaleString("en")} of ${all}`;
  };
  filter.addEventListener("input", choose);
  state.addEventListener("change", choose);
  document.querySelector(".tools").hidden = false;
})();
