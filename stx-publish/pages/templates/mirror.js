"use strict";
(function () {
  var root = new URL(document.documentElement.dataset.root || "./", location.href).href;
  document.querySelectorAll("[data-mirror]").forEach(function (place) {
    place.textContent = place.textContent.split("URL-of-this-mirror/").join(root);
  });
}());
