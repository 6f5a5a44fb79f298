// Search in sections.js, which is loaded at the first touch: sections that have every word, those with it in the title first.
"use strict";

(() => {
  const root = document.body.dataset.root, box = document.getElementById("search");
  const list = document.getElementById("found"), count = document.getElementById("found-count"), SHOWN = 12;
  let ready;

  const load = () => (ready ??= new Promise((done, failed) => {
    const script = Object.assign(document.createElement("script"), { src: `${root}sections.js`, onload: done, onerror: failed });
    document.head.append(script);
  }));

  function score([title, , text], words) {
    const [head, body] = [title.toLowerCase(), text.toLowerCase()];
    if (!words.every((word) => head.includes(word) || body.includes(word))) return 0;
    return words.reduce((sum, word) => sum + (head.includes(word) ? 10 : 1), 0) + 5 / (5 + head.length);
  }

  async function search() {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    list.hidden = !words.length;
    if (!words.length) { count.textContent = ""; return; }
    await load();
    const found = SECTIONS.map((section) => [score(section, words), section]).filter(([points]) => points);
    found.sort((a, b) => b[0] - a[0]);
    count.textContent = found.length > SHOWN ? `${SHOWN} of ${found.length} sections` : `${found.length} sections`;
    list.replaceChildren(...found.slice(0, SHOWN).map(([, [title, url, text]]) => {
      const item = document.createElement("li"), link = document.createElement("a");
      Object.assign(link, { href: root + url, textContent: title });
      item.append(link, Object.assign(document.createElement("p"), { textContent: text.slice(0, 140) }));
      return item;
    }));
  }

  for (const wide of document.querySelectorAll("pre, .wide, .display")) { // what scrolls can be scrolled by keys
    if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;
  }
  box.onfocus = load;
  box.oninput = search;
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { box.value = ""; search(); }
    if (event.key === "/" && !/input|textarea|select/i.test(document.activeElement.tagName)) { event.preventDefault(); box.focus(); }
  });
})();
