// Elements out of text. Everything that SIP carries is hostile: what comes from outside becomes a text node or the value of
// a harmless attribute, and there is no other way in this page to make an element.

const SVG = "http://www.w3.org/2000/svg";
const ADDRESSES = new Set(["href", "src", "action", "formaction"]);

/** An HTML element. `props`: attributes by name (true: without a value; null, undefined, false: absent), and
 *  `on: {event: listener}`, `style: {property: value}`, `dataset: {name: value}`. Children: nodes, texts, numbers, lists of
 *  them; null, undefined and false are left out. */
export function h(tag, props, ...children) {
  return build(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function svg(tag, props, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

/** Puts `children` in the place of all that `node` held. */
export function fill(node, ...children) {
  node.replaceChildren(...nodes(children));
  return node;
}

/** The element with that id, which the HTML file promises. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element #${id}`);
  return found;
}

function build(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) set(node, name, value);
  node.append(...nodes(children));
  return node;
}

function set(node, name, value) {
  if (name === "on") {
    for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
  } else if (name === "style") {
    for (const [property, text] of Object.entries(value)) node.style.setProperty(property, text);
  } else if (name === "dataset") {
    Object.assign(node.dataset, value);
  } else if (name.startsWith("on")) {
    throw new TypeError(`${name}: listeners are given as on: {…}`);
  } else if (value !== null && value !== undefined && value !== false) {
    if (ADDRESSES.has(name) && !ours(value)) throw new TypeError(`${name}: ${value} is not an address of this page`);
    node.setAttribute(name, value === true ? "" : value);
  }
}

/** Is this an address of this server, or of bytes that this page made? */
function ours(address) {
  return new URL(address, location.href).origin === location.origin;
}

function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}
