"use strict";
(function () {
  var tables = Array.prototype.slice.call(document.querySelectorAll("table[data-sortable]"));
  var form = document.querySelector("form.filter");
  if (!tables.length || !form) { return; }
  var text = form.querySelector("input");
  var result = form.querySelector("select");
  var count = form.querySelector("output");
  function filter() {
    var words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    var filtered = words.length > 0 || Boolean(result && result.value);
    var shown = 0, all = 0;
    tables.forEach(function (table) {
      var some = 0;
      Array.prototype.forEach.call(table.tBodies[0].rows, function (row) {
        var content = row.textContent.toLowerCase();
        var fits = words.every(function (word) { return content.includes(word); }) &&
          (!result || !result.value || row.dataset.result === result.value);
        row.hidden = !fits;
        if (fits) { some += 1; }
        all += 1;
      });
      var folded = table.closest("details");
      if (folded && filtered && some) { folded.open = true; }
      var part = table.closest("section");
      if (part) { part.hidden = !some; }
      shown += some;
    });
    count.textContent = shown + " of " + all + " shown";
  }
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  filter();
  function sortable(table, head, column) {
    if (!("sort" in head.dataset)) { return; }
    var body = table.tBodies[0];
    var button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.textContent = "";
    head.appendChild(button);
    button.addEventListener("click", function () {
      var down = head.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("th[aria-sort]").forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      var numbers = head.dataset.sort === "number";
      var rows = Array.prototype.slice.call(body.rows);
      function key(row) {
        var cell = row.cells[column];
        var value = "key" in cell.dataset ? cell.dataset.key : cell.textContent.trim();
        return numbers ? Number(value) : value;
      }
      rows.sort(function (a, b) {
        var left = key(a), right = key(b);
        var order = left < right ? -1 : left > right ? 1 : 0;
        return down ? -order : order;
      });
      rows.forEach(function (row) { body.appendChild(row); });
    });
  }
  tables.forEach(function (table) {
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (head, column) { sortable(table, head, column); });
  });
}());
