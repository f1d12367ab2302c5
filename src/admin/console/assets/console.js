// What the pages do beyond links and forms: searching while typing, the live tail, keys. Everything else works without it.
'use strict';

const $ = (selector, within = document) => within.querySelector(selector);
const typing = (element) => element instanceof HTMLElement && (element.matches('input, textarea, select') || element.isContentEditable);

// A part of a page, asked for by itself. Null when the login is over or the server is away.
const part = async (url, kind, signal) => {
  const answer = await fetch(url, { headers: { 'X-Part': kind }, signal, redirect: 'manual', cache: 'no-store' });
  return answer.ok ? answer.text() : null;
};
const parsed = (html) => new DOMParser().parseFromString(html, 'text/html').body;

// Search as you type: the results are a part of the page.
const search = $('form.search');
const results = $('#results');
if (search && results) {
  const input = $('input[name=q]', search);
  let timer;
  let asking;
  const run = async () => {
    asking?.abort();
    asking = new AbortController();
    const url = new URL(search.action);
    url.searchParams.set('q', input.value);
    try {
      const html = await part(url, 'typed', asking.signal);
      if (html === null) return;
      results.replaceChildren(...parsed(html).childNodes);
      history.replaceState(null, '', url);
      for (const link of document.querySelectorAll('.quick a')) {
        const own = (new URL(link.href).searchParams.get('q') ?? '') === input.value.trim();
        if (own) link.setAttribute('aria-current', 'true');
        else link.removeAttribute('aria-current');
      }
    } catch (error) {
      if (error.name !== 'AbortError') throw error;
    }
  };
  input.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(run, 220);
  });
  $('#saved-filter')?.form.addEventListener('submit', () => { $('#saved-filter').value = input.value; });
}

// The live tail: new records come in at the top until it is paused.
const live = $('#live');
if (live) {
  let timer;
  const list = () => $('#records');
  const tick = async () => {
    const url = new URL('/audit/tail', location);
    url.searchParams.set('q', $('form.search input[name=q]').value);
    url.searchParams.set('after', list()?.dataset.newest ?? '0');
    const html = await part(url, 'auto').catch(() => null);
    if (html === null) return;
    const fresh = $('ol', parsed(html));
    if (!fresh) return;
    // The first record of an empty list: the search brings the list itself.
    if (!list()) return $('form.search input[name=q]').dispatchEvent(new Event('input'));
    for (const item of [...fresh.children]) {
      item.classList.add('fresh');
      list().prepend(item);
    }
    list().dataset.newest = fresh.dataset.newest;
    while (list().children.length > 500) list().lastElementChild.remove();
  };
  const set = (on) => {
    live.setAttribute('aria-pressed', String(on));
    live.textContent = on ? 'Pause' : 'Follow live';
    clearInterval(timer);
    if (on) { tick(); timer = setInterval(tick, 1500); }
  };
  live.hidden = false;
  live.addEventListener('click', () => set(live.getAttribute('aria-pressed') !== 'true'));
}

// Parts that keep themselves up to date while nobody is at work in them.
for (const box of document.querySelectorAll('[data-refresh]')) {
  setInterval(async () => {
    if (document.hidden || box.contains(document.activeElement)) return;
    const html = await part(box.dataset.refresh, 'auto').catch(() => null);
    if (html !== null) box.replaceChildren(...parsed(html).childNodes);
  }, 2000);
}

// A problem needs a word on what is wrong.
for (const button of document.querySelectorAll('form.do button[value=problem]')) {
  button.addEventListener('click', (event) => {
    const note = $('input[name=note]', button.form);
    if (note.value.trim()) return;
    event.preventDefault();
    note.placeholder = 'What is wrong?';
    note.focus();
  });
}
for (const button of document.querySelectorAll('[data-copy]')) {
  button.hidden = false;
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(new URL(button.dataset.copy, location).href);
    button.textContent = 'Copied';
  });
}
for (const button of document.querySelectorAll('[data-print]')) {
  button.hidden = false;
  button.addEventListener('click', () => window.print());
}

// Keys. `g` and a letter goes to a page; `j` and `k` walk along lists.
const keys = $('#keys');
const pages = { o: '/', a: '/audit', r: '/review', s: '/sessions', g: '/grants', p: '/policies' };
let going = 0;
const walk = (step) => {
  const stops = [...document.querySelectorAll('#records a.record, .inbox a.stop, [data-refresh] a.stop')];
  const next = stops[stops.indexOf(document.activeElement) + step];
  (next ?? (step > 0 ? stops.at(-1) : stops[0]))?.focus();
};
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || keys?.open) return;
  if (typing(event.target)) {
    if (event.key === 'Escape') event.target.blur();
    if (event.key === 'ArrowDown' && event.target.name === 'q') walk(1);
    return;
  }
  const page = pages[event.key];
  if (page && Date.now() - going < 3000) location.assign(page);
  else if (event.key === 'g') { going = Date.now(); return; }
  else if (event.key === '/' && search) $('input[name=q]', search).focus();
  else if (event.key === '/') location.assign('/audit#search');
  else if (event.key === 'j') walk(1);
  else if (event.key === 'k') walk(-1);
  else if (event.key === 'l' && live) live.click();
  else if (event.key === '?') keys?.showModal();
  else return;
  going = 0;
  event.preventDefault();
});
if (location.hash === '#search' && search) $('input[name=q]', search).focus();
$('#show-keys')?.addEventListener('click', () => keys.showModal());
if ($('#show-keys')) $('#show-keys').hidden = false;
