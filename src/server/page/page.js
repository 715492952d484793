// The page of one broker: asks for its state again and again, and shows it.

import { count, duration, Figure, now, setText, showState, Table } from "./show.js";

/** The time from one answer to the next question, in milliseconds. */
const PAUSE = 2_000;
const PAUSE_WHILE_HIDDEN = 10_000;
/** The longest wait for an answer: a list may take 10 s. */
const LONGEST_WAIT = 12_000;
/** The most rows of a list, at first and on request. */
const FEW_ROWS = 500;
const MOST_ROWS = 10_000;

const element = (id) => document.getElementById(id);

const ticking = (label, text) => ({ label, text, isNumber: true });
const left = (seconds, age) => (seconds === undefined ? "" : duration(Math.ceil(seconds - age)));
const past = (seconds, age) => (seconds === undefined ? "" : duration(seconds + age));

/** The most that may share a lock. Who names no limit names this one. */
const MOST_PERMITS = 4_096;

/** Writes how somebody wants a lock, and if nobody else gets in before. */
function wants(row) {
  const parts = [row.mode === "shared" ? "shared" : "alone"];
  if (row.limit !== undefined && row.limit !== MOST_PERMITS) parts.push(`limit ${count(row.limit)}`);
  if (row.weight > 1) parts.push(`${row.weight} permits`);
  if (row.keeps_others_out) parts.push("keeps others out");
  return parts.join(", ");
}

const shards = new Table("shards", (row) => row.address, [
  { label: "Address", text: (row) => row.address },
  { label: "State", isState: true },
  ticking("Opens in", (row, age) => left(row.opens_in_seconds, age)),
  { label: "Reason", text: (row) => row.reason ?? "" },
]);
const locks = new Table("locks", (row) => `${row.permit ?? ""} ${row.name}`, [
  { label: "Lock", text: (row) => row.name },
  { label: "State", isState: true },
  { label: "Owner", text: (row) => row.owner ?? "" },
  ticking("Held for", (row, age) => past(row.held_for_seconds, age)),
  ticking("Expires in", (row, age) => left(row.expires_in_seconds, age)),
  { label: "Fencing token", text: (row) => row.fencing_token?.toString() ?? "", isNumber: true },
  { label: "Permit", text: (row) => row.permit?.toString() ?? "", isNumber: true },
]);
const waiters = new Table("waiting", (row) => `${row.position} ${row.name}`, [
  { label: "Lock", text: (row) => row.name },
  { label: "Place", text: (row) => count(row.position), isNumber: true },
  { label: "Owner", text: (row) => row.owner ?? "" },
  ticking("Waits for", (row, age) => past(row.waited_seconds, age)),
  { label: "Wants", text: wants },
]);

const held = new Figure("Held here", false);
const waiting = new Figure("Waiting here", false);
const rates = {
  grants: new Figure("Grants / s", true),
  releases: new Figure("Releases / s", true),
  hand_overs: new Figure("Hand-overs / s", true),
  losses: new Figure("Losses / s", true),
  refusals: new Figure("Refusals / s", true),
};

/** An answer of the broker that tells of an error. */
class Refused extends Error {}

async function get(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(LONGEST_WAIT) });
  if (response.ok) return response.json();
  const text = await response.text();
  let why = text;
  try {
    why = JSON.parse(text).error;
  } catch {
    // It is no JSON: the text is for people.
  }
  throw new Refused(why || `the broker answers with the status ${response.status}`);
}

/** Does `work` again and again, never twice at a time. */
class Poll {
  constructor(work, stopsWhileHidden) {
    this.work = work;
    this.stopsWhileHidden = stopsWhileHidden;
    this.isBusy = false;
    this.isDue = false;
    this.now();
  }

  /** Does it now, or as soon as the present turn is over. */
  async now() {
    clearTimeout(this.timer);
    if (this.isBusy) {
      this.isDue = true;
      return;
    }
    // Whoever comes back has it done at once.
    if (document.hidden && this.stopsWhileHidden) return;
    this.isBusy = true;
    do {
      this.isDue = false;
      await this.work();
    } while (this.isDue);
    this.isBusy = false;
    this.timer = setTimeout(() => this.now(), document.hidden ? PAUSE_WHILE_HIDDEN : PAUSE);
  }
}

function setBanner(look, text) {
  const banner = element("banner");
  banner.className = look;
  setText(banner, text);
}

let last = null;
let updated = null;

async function pollStatus() {
  let status;
  try {
    status = await get("status.json");
  } catch (error) {
    document.body.className = "stale";
    const since = updated === null ? "" : ` What you see is from ${updated.time}.`;
    const what = error instanceof Refused ? `The broker answers: ${error.message}.` : "The broker does not answer.";
    setBanner("bad", `${what}${since} Trying again.`);
    showState(element("state"), ["Away", "off"]);
    return;
  }
  document.body.className = "";
  updated = { at: now(), time: new Date().toLocaleTimeString() };
  showStatus(status);
}

function showStatus(status) {
  document.title = `lockbroker ${status.host}`;
  setText(element("host"), status.host);
  setText(element("version"), `version ${status.version}`);
  if (status.draining) {
    setBanner("busy", "This broker drains: it takes no new work, and tells its clients to move to another broker.");
    showState(element("state"), ["Draining", "busy"]);
  } else if (!status.ready) {
    setBanner("bad", "No shard is open: nobody can get a lock from this broker now.");
    showState(element("state"), ["Not ready", "off"]);
  } else {
    setBanner("", "");
    showState(element("state"), ["Ready", "good"]);
  }
  held.show(status.held);
  waiting.show(status.waiting);
  const span = last === null ? 0 : status.uptime_seconds - last.uptime_seconds;
  for (const [name, figure] of Object.entries(rates)) {
    if (span > 0) figure.add((status.totals[name] - last.totals[name]) / span);
    // Another process answers than before.
    else if (span < 0) figure.begin();
  }
  last = status;
  setText(element("shards-count"), count(status.shards.length));
  shards.show(status.shards, updated.at);
  const isEmbedded = status.shards.length === 0;
  note("shards", isEmbedded ? "None: this broker keeps its locks in its own memory, the embedded store." : "");
}

function note(section, text, isBad = false) {
  const node = document.querySelector(`#${section} .note`);
  node.className = isBad ? "note bad" : "note";
  setText(node, text);
}

/** A list of the broker's, of which the search shows a part. */
class List {
  constructor(section, path, table, what) {
    Object.assign(this, { section, path, table, what });
    this.rows = [];
    this.total = 0;
    this.limit = FEW_ROWS;
    /** The beginning of the names for which the broker was asked. */
    this.prefix = "";
    this.since = 0;
    this.poll = new Poll(() => this.ask(), true);
  }

  async ask() {
    const { prefix, limit } = this;
    const asked = now();
    try {
      const query = new URLSearchParams({ prefix, limit });
      const answer = await get(`${this.path}?${query}`);
      // Somebody has typed on meanwhile.
      if (prefix !== this.prefix) return;
      this.rows = answer[this.what];
      this.total = answer.total;
      this.since = asked - answer.age_seconds;
      this.problem = null;
    } catch (error) {
      // If nothing answers at all, the banner says so.
      if (!(error instanceof Refused)) return;
      this.problem = error.message;
    }
    this.show();
  }

  /** True if the broker has more than it was asked for. */
  get more() {
    return this.total > this.rows.length;
  }

  /** Shows what the search finds, and asks the broker for more where that is nothing. */
  show() {
    const wanted = element("search").value;
    if (!wanted.startsWith(this.prefix)) {
      // What is there begins with something else.
      this.prefix = "";
      this.poll.now();
    }
    const folded = wanted.toLowerCase();
    const finds = (text) => text?.toLowerCase().includes(folded);
    const found = this.rows.filter((row) => finds(row.name) || finds(row.owner));
    if (found.length === 0 && this.more && wanted !== this.prefix) {
      this.prefix = wanted;
      this.poll.now();
    }
    this.table.show(found, this.since);
    setText(element(`${this.section}-count`), count(this.total));
    this.tell(wanted, found.length);
    element("more").hidden = this.limit === MOST_ROWS || !(lockList.more || waiterList.more);
  }

  tell(wanted, found) {
    const begin = this.prefix === "" ? "" : ` whose names begin with “${this.prefix}”`;
    const all = `the first ${count(this.rows.length)} by name of ${count(this.total)}${begin}`;
    if (this.problem) note(this.section, `Not up to date: ${this.problem}`, true);
    else if (found > 0) note(this.section, this.more ? `These are found among ${all}.` : "");
    else if (wanted === "") note(this.section, "None.");
    else note(this.section, this.more ? `Nothing among ${all}.` : `Nothing that has “${wanted}” in it.`);
  }
}

const lockList = new List("locks", "locks.json", locks, "locks");
const waiterList = new List("waiting", "waiters.json", waiters, "waiters");
const statusPoll = new Poll(pollStatus, false);

let typing;
element("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    lockList.show();
    waiterList.show();
  }, 150);
});

element("more").addEventListener("click", () => {
  for (const list of [lockList, waiterList]) {
    list.limit = MOST_ROWS;
    list.poll.now();
  }
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  for (const poll of [statusPoll, lockList.poll, waiterList.poll]) poll.now();
});

setInterval(() => {
  if (updated === null) return;
  setText(element("updated"), `updated ${duration(now() - updated.at)} ago`);
  // What is not known any more does not grow older.
  if (document.hidden || document.body.className === "stale") return;
  setText(element("uptime"), `up ${duration(last.uptime_seconds + now() - updated.at)}`);
  for (const table of [shards, locks, waiters]) table.tick();
}, 500);
