// SPDX-License-Identifier: Apache-2.0
// Draws the nodes of the page from its JSON; package page says what each field is. Names become text and attributes, never markup.
// What is shown follows from the part of the address after "#" alone, so every view can be linked to.
'use strict';
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId('data').textContent);
  const states = ['exact', 'estimated', 'silent', 'unlabelled'];
  const problems = ['drift', 'sharing'];
  const mostHits = 60;
  const letters = 'ABCDEFGHIJKLMNOPQSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'; // as kubectl corepin nodes has them
  const colours = 8;

  // el makes an element. Children that are strings become text.
  function el(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children.filter((child) => child));
    return element;
  }

  // The view, as the address has it. An address without "=" is that of a section, and leaves the view as it is.
  const nothing = {q: '', node: '', show: '', order: ''};
  let view = nothing;
  function asked() {
    const hash = location.hash.slice(1);
    if (hash && !hash.includes('=')) return view;
    const given = new URLSearchParams(hash);
    return Object.fromEntries(Object.keys(nothing).map((key) => [key, given.get(key) || '']));
  }
  function addressOf(change) {
    const wanted = new URLSearchParams({q: ''}); // never empty: the address "#" is that of the top
    for (const [key, value] of Object.entries({...view, ...change})) if (value) wanted.set(key, value);
    return '#' + wanted;
  }
  const show = (change) => { location.hash = addressOf(change); };

  // cpusOf reads a list such as "1-4,65".
  function cpusOf(list) {
    const cpus = [];
    for (const part of (list || '').split(',').filter(Boolean)) {
      const [from, to] = part.split('-').map(Number);
      for (let cpu = from; cpu <= (to === undefined ? from : to); cpu++) cpus.push(cpu);
    }
    return cpus;
  }
  const plural = (n, noun) => n + ' ' + noun + (n === 1 ? '' : 's');
  const free = (node) => node.u - node.t;
  const share = (node) => (node.u ? 100 * node.t / node.u : 0);

  // The map: a button for each node.
  const map = byId('map');
  const scale = data.nodes.length <= 60 ? 'large' : data.nodes.length <= 800 ? 'medium' : 'small';
  map.classList.add(scale);
  const cells = data.nodes.map((node, i) => {
    const cell = el('button', {type: 'button', class: 'cell ' + states[node.s], tabindex: -1, 'data-i': i});
    if ((node.x || []).some((note) => problems.includes(note.k))) cell.classList.add('problem');
    if (scale === 'large') cell.append(el('span', {class: 'name'}, node.n), el('span', {class: 'bar'}), el('small', {}));
    return cell;
  });
  let ordered = [];
  let current = 0; // the cell that Tab reaches, by its place in ordered

  const orders = {
    free: (a, b) => free(data.nodes[b]) - free(data.nodes[a]),
    taken: (a, b) => share(data.nodes[b]) - share(data.nodes[a]),
    state: (a, b) => data.nodes[a].s - data.nodes[b].s,
  };
  function arrange() {
    ordered = cells.map((_, i) => i);
    if (Object.hasOwn(orders, view.order)) ordered.sort(orders[view.order]);
    map.append(...ordered.map((i) => cells[i]));
    reach(0);
  }
  function reach(place) {
    if (cells.length === 0) return;
    cells[ordered[Math.min(current, cells.length - 1)]].tabIndex = -1;
    current = place;
    cells[ordered[current]].tabIndex = 0;
  }
  function perRow() {
    const top = cells[ordered[0]].offsetTop;
    const second = ordered.findIndex((i) => cells[i].offsetTop !== top);
    return second < 0 ? ordered.length : second;
  }
  map.addEventListener('click', (event) => {
    const cell = event.target.closest('.cell');
    if (cell) show({node: data.nodes[cell.dataset.i].n});
  });
  map.addEventListener('keydown', (event) => {
    const moves = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: perRow(), ArrowUp: -perRow(), Home: -current, End: cells.length - 1 - current};
    if (!Object.hasOwn(moves, event.key)) return;
    event.preventDefault();
    const place = current + moves[event.key];
    if (place < 0 || place >= cells.length) return;
    reach(place);
    cells[ordered[place]].focus();
  });

  // paint colours the map by the CPUs taken, or by the room for a size.
  function paint() {
    const size = data.sizes.findIndex((s) => s.shape === view.show);
    const room = (node) => (node.r || [])[size] || 0;
    const most = data.nodes.reduce((n, node) => Math.max(n, room(node)), 1);
    map.classList.toggle('room', size >= 0);
    cells.forEach((cell, i) => {
      const node = data.nodes[i];
      const text = size >= 0 ? room(node) + ' more fit' : node.m < 0 ? 'no report' : node.t + ' of ' + node.u + ' taken';
      cell.style.setProperty('--share', (size >= 0 ? 100 * room(node) / most : share(node)).toFixed());
      cell.setAttribute('aria-label', node.n + ': ' + text + ', ' + states[node.s]);
      cell.title = cell.getAttribute('aria-label');
      if (scale === 'large') cell.lastChild.textContent = text + (node.s > 0 ? ', ' + states[node.s] : '');
    });
    const steps = [0, 25, 50, 75, 100].map((at) => {
      const step = el('i', {class: 'cell exact'});
      step.style.setProperty('--at', at);
      return step;
    });
    byId('ramp').className = size >= 0 ? 'room' : '';
    byId('ramp').replaceChildren(...steps, size >= 0 ? ' room for 0 to ' + most + ' × ' + view.show : ' 0 to 100 % of the CPUs taken');
  }

  // search gives the nodes that a text names, and the pods on them and those that wait.
  const fullName = (name) => (/^(VM |pod )?[a-z0-9.-]+( \(in flight\))?$/.test(name) ? name.replace(/^(VM |pod )?/, '$1default/') : name).toLowerCase();
  function search(q) {
    const found = {nodes: [], hits: [], waiting: []};
    const [, kind, value] = /^(state|has|group):(.*)$/.exec(q) || [];
    const [i, j] = (value || '').split('.');
    const group = kind === 'group' && data.waiting[i] && (data.waiting[i].groups || [])[j];
    const members = new Set(group ? group.nodes : []);
    const text = q.toLowerCase();
    data.nodes.forEach((node, at) => {
      let is = false;
      if (kind === 'state') is = states[node.s] === value;
      else if (value === 'flight' && kind) is = (node.h || []).some((holder) => holder.i);
      else if (kind === 'has') is = (node.x || []).some((note) => note.k === value);
      else if (kind === 'group') is = members.has(at);
      else {
        const hits = (node.h || []).filter((holder) => fullName(holder.n).includes(text));
        hits.forEach((holder) => found.hits.push({node, holder}));
        is = hits.length > 0 || node.n.toLowerCase().includes(text);
      }
      if (is) found.nodes.push(at);
    });
    if (!kind) data.waiting.forEach((w, at) => w.names.forEach((name) => { if (fullName(name).includes(text)) found.waiting.push({at, name}); }));
    return found;
  }
  function nodeLink(node) { return el('a', {href: addressOf({node: node.n})}, node.n); }
  function find() {
    const found = view.q ? search(view.q) : null;
    const named = new Set(found ? found.nodes : []);
    cells.forEach((cell, i) => cell.classList.toggle('other', found !== null && !named.has(i)));
    byId('hits').replaceChildren();
    byId('found').textContent = '';
    if (!found) return;
    const lines = found.waiting.map((w) => el('li', {}, el('a', {href: '#w' + w.at}, w.name), ' waits'));
    found.hits.forEach((hit) => lines.push(el('li', {}, hit.holder.n + ' on ', nodeLink(hit.node), hit.holder.c ? ', CPUs ' + hit.holder.c : '')));
    if (found.hits.length === 0) found.nodes.forEach((i) => lines.push(el('li', {}, nodeLink(data.nodes[i]))));
    byId('hits').replaceChildren(...lines.slice(0, mostHits));
    const more = lines.length > mostHits ? '; the first ' + mostHits + ' are listed' : '';
    const pods = found.hits.length + found.waiting.length ? ', ' + plural(found.hits.length, 'pod') + ' there, ' + found.waiting.length + ' waiting' : '';
    byId('found').append(view.q + ': ' + named.size + ' of ' + plural(cells.length, 'node') + pods + more + ' ', el('a', {href: addressOf({q: ''})}, 'show all'));
  }

  // threadsOf says which threads of a guest are on which CPU, of a text such as "0=2 1=3 emulator=4 io1=4".
  function threadsOf(pins) {
    const threads = new Map();
    for (const pin of (pins || '').split(' ').filter(Boolean)) {
      const [thread, list] = pin.split('=');
      const name = /^\d+$/.test(thread) ? 'vCPU ' + thread : thread.replace(/^io/, 'IO thread ');
      for (const cpu of cpusOf(list)) threads.set(cpu, [...(threads.get(cpu) || []), name]);
    }
    return threads;
  }

  // ownersOf says who has each CPU of a node.
  function ownersOf(node) {
    const owners = new Map();
    (node.h || []).forEach((holder, h) => {
      const threads = threadsOf(holder.p);
      for (const cpu of cpusOf(holder.c)) {
        const before = owners.get(cpu);
        owners.set(cpu, {h, holder, threads: threads.get(cpu) || [], clash: before !== undefined});
      }
    });
    return owners;
  }
  const letterOf = (h) => letters[h] || '#';

  function drawCPU(cpu, owner, reserved) {
    const box = el('span', {class: 'cpu'}, el('b', {}, owner ? letterOf(owner.h) : reserved ? 'R' : '·'), el('small', {}, String(cpu)));
    box.title = 'CPU ' + cpu + ': ' + (owner ? [owner.holder.n, ...owner.threads].join(', ') : reserved ? 'reserved' : 'shared pool');
    if (owner) {
      box.classList.add('c' + owner.h % colours);
      box.dataset.h = owner.h;
      box.classList.toggle('flight', Boolean(owner.holder.i));
      box.classList.toggle('clash', owner.clash);
    } else if (reserved) box.classList.add('reserved');
    return box;
  }

  // drawNUMA draws the cores of one NUMA node on one socket.
  function drawNUMA(machine, node, id, places, owners, reserved) {
    const cpus = places.flatMap((place) => place.cores.flatMap(cpusOf));
    const left = cpus.filter((cpu) => !owners.has(cpu) && !reserved.has(cpu)).length;
    const text = (node.a || [])[machine.numa.indexOf(id)];
    const label = el('p', {class: 'label'}, el('b', {}, 'NUMA node ' + id), ': ' + left + ' of ' + plural(cpus.length, 'CPU') + ' free' + (text ? '; ' + text : ''));
    const caches = places.map((place) => {
      const cores = place.cores.map((core) => el('span', {class: 'core'}, ...cpusOf(core).map((cpu) => drawCPU(cpu, owners.get(cpu), reserved.has(cpu)))));
      if (!machine.caches) return el('div', {class: 'cores'}, ...cores);
      return el('div', {class: 'cache'}, el('p', {class: 'label'}, 'shared cache ' + place.cache), el('div', {class: 'cores'}, ...cores));
    });
    return el('div', {class: 'numa'}, label, el('div', {class: 'caches'}, ...caches));
  }

  function drawMachine(machine, node) {
    const owners = ownersOf(node);
    const reserved = new Set(cpusOf(machine.reserved));
    const drawing = el('div', {class: 'drawing'});
    const empty = machine.numa.filter((id) => !machine.places.some((place) => place.numa === id));
    for (const socket of new Set(machine.places.map((place) => place.socket))) {
      const here = machine.places.filter((place) => place.socket === socket);
      const numas = [...new Set(here.map((place) => place.numa))];
      drawing.append(el('div', {class: 'socket'}, el('p', {class: 'label'}, el('b', {}, 'Socket ' + socket)),
        ...numas.map((id) => drawNUMA(machine, node, id, here.filter((place) => place.numa === id), owners, reserved))));
    }
    for (const id of empty) drawing.append(drawNUMA(machine, node, id, [], owners, reserved));
    drawing.append(el('p', {class: 'label'}, 'A box is a core, and each part of it one hardware thread. R is reserved, · the shared pool; a dashed CPU is of a pod in flight.'));
    return drawing;
  }

  // only makes the CPUs of all others faint; of nobody for -1.
  function only(drawing, h) {
    for (const box of drawing.querySelectorAll('.cpu')) box.classList.toggle('faint', h >= 0 && box.dataset.h !== String(h));
  }
  function holdersTable(node, drawing) {
    let chosen = -1;
    const rows = (node.h || []).map((holder, h) => {
      const name = el('button', {type: 'button', 'aria-pressed': 'false'}, holder.n);
      const row = el('tr', {}, el('td', {}, el('span', {class: 'mark c' + h % colours}, letterOf(h))), el('td', {}, name),
        el('td', {}, holder.c), el('td', {}, holder.p),
        el('td', {}, [holder.k, holder.d, holder.i && 'in flight: not in the report yet', holder.o && 'on its CPUs too: ' + holder.o,
          holder.v && 'vCPUs that waited for a CPU, in percent: ' + holder.v].filter(Boolean).join('; ')));
      name.addEventListener('click', () => {
        chosen = chosen === h ? -1 : h;
        rows.forEach((other, k) => other.querySelector('button').setAttribute('aria-pressed', String(k === chosen)));
        only(drawing, chosen);
      });
      row.addEventListener('mouseenter', () => only(drawing, h));
      row.addEventListener('mouseleave', () => only(drawing, chosen));
      return row;
    });
    if (rows.length === 0) return el('p', {}, 'No pod has CPUs of its own here.');
    const heads = ['', 'pod', 'CPUs', 'threads are pinned', 'besides'].map((head) => el('th', {scope: 'col'}, head));
    return el('div', {class: 'scroll'}, el('table', {}, el('thead', {}, el('tr', {}, ...heads)), el('tbody', {}, ...rows)));
  }

  // lacks are the answers of a node to the pods that wait, in the words of the section about them.
  function lacks(at) {
    const lines = [];
    data.waiting.forEach((w, i) => (w.groups || []).forEach((group, j) => {
      if (!group.nodes.includes(at)) return;
      const text = byId('w' + i + 'g' + j).querySelector('p').textContent;
      const others = w.names.length > 1 ? ' and ' + (w.names.length - 1) + ' more' : '';
      lines.push(el('li', {}, el('a', {href: '#w' + i}, w.names[0] + others), ': ' + text));
    }));
    return lines;
  }

  function detailOf(node, at) {
    const parts = [el('div', {class: 'head'}, el('h2', {}, 'Node ' + node.n), el('span', {}, states[node.s]), el('a', {href: addressOf({node: ''})}, 'close (Esc)'))];
    if (node.w) parts.push(el('p', {class: 'lines'}, node.w));
    const machine = data.machines[node.m];
    if (machine) {
      const room = (node.r || []).map((n, k) => n + ' × ' + data.sizes[k].shape).join(', ');
      parts.push(el('p', {}, el('b', {}, node.t + ' of ' + node.u + ' CPUs taken'), ', ' + free(node) + ' free; reserved: ' + (machine.reserved || 'none') + (room ? '; more that fit: ' + room : '')));
      machine.text.forEach((line) => parts.push(el('p', {class: 'lines machine', title: line}, line)));
      if (machine.settings) parts.push(el('p', {class: 'lines'}, machine.settings.join(', ')));
    }
    (node.x || []).forEach((note) => parts.push(el('p', {class: 'note ' + note.k}, note.t)));
    (node.b || []).forEach((text) => parts.push(el('p', {class: 'note'}, text)));
    if (machine) {
      const drawing = drawMachine(machine, node);
      parts.push(drawing, holdersTable(node, drawing));
    }
    const waiting = lacks(at);
    if (waiting.length > 0) parts.push(el('h3', {}, 'What waits, and what it finds here'), el('ul', {}, ...waiting));
    return parts;
  }

  const detail = byId('detail');
  function open() {
    const at = data.nodes.findIndex((node) => node.n === view.node);
    cells.forEach((cell, i) => cell.classList.toggle('open', i === at));
    detail.hidden = view.node === '';
    detail.replaceChildren();
    if (detail.hidden) return;
    if (at < 0) detail.append(el('p', {}, 'There is no node ' + view.node + ' on this page. '), el('a', {href: addressOf({node: ''})}, 'close'));
    else detail.append(...detailOf(data.nodes[at], at));
    if (at >= 0) reach(ordered.indexOf(at));
    detail.scrollIntoView();
    detail.focus({preventScroll: true});
  }
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || detail.hidden) return;
    show({node: ''});
    if (cells.length > 0) cells[ordered[current]].focus();
  });

  // The tools. Typing replaces the address, so that the way back is not by letters.
  const box = byId('q');
  let typing = 0;
  box.addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(() => location.replace(addressOf({q: box.value.trim()})), 150);
  });
  byId('show').append(...data.sizes.map((size) => el('option', {value: size.shape}, 'room for ' + size.shape)));
  for (const id of ['show', 'order']) byId(id).addEventListener('change', (event) => show({[id]: event.target.value}));

  function render() {
    const before = view;
    view = asked();
    const changed = (key) => before === nothing || before[key] !== view[key];
    if (document.activeElement !== box) box.value = view.q;
    byId('show').value = view.show;
    byId('order').value = view.order;
    if (changed('order')) arrange();
    if (changed('show')) paint();
    if (changed('q')) find();
    if (changed('node')) open();
    const byLink = before !== nothing && document.activeElement.tagName === 'A' && (before.q !== view.q || before.show !== view.show);
    if (byLink && !changed('node')) byId('nodes').scrollIntoView();
  }
  addEventListener('hashchange', render);
  render();
})();
