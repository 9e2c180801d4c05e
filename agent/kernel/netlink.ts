// The door to rtnetlink: a socket inside a namespace, requests in a worker (RTNL can be held for milliseconds), one at a time.

import {native} from '../../bpf-native/index.js';
import {StentorError} from '../../lib/core/errors.js';
import type {Family} from '../../lib/core/ip.js';
import {check, EEXIST, EHOSTUNREACH, ENETUNREACH, ENODEV, ENOENT, ESRCH, kernelError} from './errno.js';
import {Fd} from './fd.js';
import {currentNetns, openNetns, type NetnsHandle} from './netns.js';
import {
  decodeMessages, encodeMessages, errorOf, flagsOf, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLMSG_DONE, NLMSG_ERROR,
  type Answer, type Message,
} from './netlink-message.js';
import * as rt from './rtnetlink.js';
import {RTM, type Link} from './rtnetlink.js';
import {LinkChanges, subscribeNetlink, type NetlinkChange, type NetlinkGroup} from './netlink-watch.js';

const NETLINK_ROUTE = 0;
/** Acknowledgements of one exchange fit the socket's buffer with room to spare. */
const EXCHANGE_MESSAGES = 512;

export interface NetlinkOptions {
  /** Path or descriptor of a namespace; the process's own when left out. The caller may close the descriptor after `open`. */
  readonly netns?: string | number;
}

export class Netlink {
  readonly #netns: NetnsHandle;
  #fd: Fd;
  #sequence = 1;
  /** Ends when the exchange before is done: the socket's answers are in order. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(netns: NetnsHandle) {
    this.#netns = netns;
    this.#fd = openSocket(netns);
  }

  static open(options: NetlinkOptions = {}): Netlink {
    const {netns} = options;
    const handle = netns === undefined ? currentNetns() : openNetns(typeof netns === 'string' ? netns : `/proc/self/fd/${netns}`);
    try {
      return new Netlink(handle);
    } catch (error) {
      handle.close();
      throw error;
    }
  }

  close(): void {
    this.#fd.close();
    this.#netns.close();
  }

  /** All requests, in order; the first that fails throws after all were tried. */
  async run(messages: readonly Message[]): Promise<void> {
    for (const result of await this.tryAll(messages)) {
      if (result !== null) throw result;
    }
  }

  /** The error of each request, or null: nothing is thrown for what the kernel refuses. */
  async tryAll(messages: readonly Message[]): Promise<(StentorError | null)[]> {
    return (await this.queryAll(messages)).map((answered) => answered.error);
  }

  /** Error and answers of each request, in few exchanges. At most one of them may be a dump. */
  async queryAll(messages: readonly Message[]): Promise<readonly Answered[]> {
    const results: Answered[] = [];
    for (let at = 0; at < messages.length; at += EXCHANGE_MESSAGES) {
      results.push(...await this.#exchange(messages.slice(at, at + EXCHANGE_MESSAGES)));
    }
    return results;
  }

  async query(message: Message): Promise<readonly Answer[]> {
    const [answered] = await this.#exchange([message]);
    if (answered === undefined) return [];
    if (answered.error !== null) throw answered.error;
    return answered.answers;
  }

  async links(): Promise<Link[]> {
    return (await this.#dump(RTM.GETLINK, rt.encodeLinkQuery({}), 'RTM_GETLINK')).map(rt.decodeLink);
  }

  /** By name or ifindex; null when there is none. */
  async link(which: string | number): Promise<Link | null> {
    const payload = rt.encodeLinkQuery(typeof which === 'string' ? {name: which} : {ifindex: which});
    try {
      const [answer] = await this.query({type: RTM.GETLINK, flags: 0, payload, what: `RTM_GETLINK ${which}`});
      return answer === undefined ? null : rt.decodeLink(answer);
    } catch (error) {
      return isOneOf(error, [ENODEV]) ? null : raise(error);
    }
  }

  createVeth(options: rt.VethOptions): Promise<void> {
    return this.run([{type: RTM.NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL, payload: rt.encodeVeth(options), what: `RTM_NEWLINK ${options.name}`}]);
  }

  createVxlan(options: rt.VxlanOptions): Promise<void> {
    return this.run([{type: RTM.NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL, payload: rt.encodeVxlan(options), what: `RTM_NEWLINK ${options.name}`}]);
  }

  setLink(ifindex: number, change: rt.LinkChange): Promise<void> {
    return this.run([{type: RTM.NEWLINK, flags: 0, payload: rt.encodeLinkChange(ifindex, change), what: `RTM_NEWLINK ${ifindex}`}]);
  }

  /** False when it was not there. */
  deleteLink(which: number | string): Promise<boolean> {
    const payload = rt.encodeLinkRemoval(typeof which === 'string' ? {name: which} : {ifindex: which});
    return this.#remove({type: RTM.DELLINK, flags: 0, payload, what: `RTM_DELLINK ${which}`}, [ENODEV]);
  }

  async addresses(ifindex = 0): Promise<rt.InterfaceAddress[]> {
    return (await this.#dump(RTM.GETADDR, rt.encodeAddressQuery(ifindex), 'RTM_GETADDR')).map(rt.decodeAddress)
      .filter((address) => ifindex === 0 || address.ifindex === ifindex);
  }

  addAddress(ifindex: number, address: string): Promise<void> {
    return this.run([{type: RTM.NEWADDR, flags: NLM_F_CREATE | NLM_F_REPLACE, payload: rt.encodeAddress(ifindex, address), what: `RTM_NEWADDR ${address}`}]);
  }

  deleteAddress(ifindex: number, address: string): Promise<boolean> {
    return this.#remove({type: RTM.DELADDR, flags: 0, payload: rt.encodeAddress(ifindex, address), what: `RTM_DELADDR ${address}`}, [EADDRNOTAVAIL, ENODEV]);
  }

  async routes(filter: rt.RouteFilter = {}): Promise<rt.Route[]> {
    const answers = await this.#dump(RTM.GETROUTE, rt.encodeRouteQuery(filter), 'RTM_GETROUTE');
    return answers.map(rt.decodeRoute).filter((route) => route !== null).filter((route) =>
      (filter.table === undefined || route.table === filter.table) && (filter.protocol === undefined || route.protocol === filter.protocol));
  }

  /** The way that a packet to `address` takes; null when there is none. */
  async routeTo(address: string): Promise<rt.Route | null> {
    try {
      const [answer] = await this.query({type: RTM.GETROUTE, flags: 0, payload: rt.encodeRouteTo(address), what: `RTM_GETROUTE ${address}`});
      return answer === undefined ? null : rt.decodeRoute(answer);
    } catch (error) {
      return isOneOf(error, [ENETUNREACH, EHOSTUNREACH]) ? null : raise(error);
    }
  }

  replaceRoute(route: rt.RouteInput): Promise<void> {
    return this.run([replaceRouteMessage(route)]);
  }

  deleteRoute(route: rt.RouteInput): Promise<boolean> {
    return this.#remove({type: RTM.DELROUTE, flags: 0, payload: rt.encodeRoute(route), what: `RTM_DELROUTE ${route.prefix}`}, [ESRCH, ENODEV]);
  }

  async rules(family: Family = 4): Promise<rt.Rule[]> {
    return (await this.#dump(RTM.GETRULE, rt.encodeRuleQuery(family), 'RTM_GETRULE')).map(rt.decodeRule).filter((rule) => rule !== null);
  }

  /** Adding a rule that exists is no change. */
  async addRule(rule: rt.Rule): Promise<void> {
    const [error] = await this.tryAll([{type: RTM.NEWRULE, flags: NLM_F_CREATE | NLM_F_EXCL, payload: rt.encodeRule(rule), what: `RTM_NEWRULE ${rule.priority}`}]);
    if (error !== null && error !== undefined && !isOneOf(error, [EEXIST])) throw error;
  }

  deleteRule(rule: rt.Rule): Promise<boolean> {
    return this.#remove({type: RTM.DELRULE, flags: 0, payload: rt.encodeRule(rule), what: `RTM_DELRULE ${rule.priority}`}, [ENOENT]);
  }

  async neighbours(ifindex?: number, family: Family = 4): Promise<rt.Neighbour[]> {
    const all = (await this.#dump(RTM.GETNEIGH, rt.encodeNeighbourQuery(family), 'RTM_GETNEIGH')).map(rt.decodeNeighbour);
    return ifindex === undefined ? all : all.filter((neighbour) => neighbour.ifindex === ifindex);
  }

  /** Permanent. */
  replaceNeighbour(ifindex: number, address: string, mac: string): Promise<void> {
    const payload = rt.encodeNeighbour(ifindex, address, mac);
    return this.run([{type: RTM.NEWNEIGH, flags: NLM_F_CREATE | NLM_F_REPLACE, payload, what: `RTM_NEWNEIGH ${address}`}]);
  }

  deleteNeighbour(ifindex: number, address: string): Promise<boolean> {
    return this.#remove({type: RTM.DELNEIGH, flags: 0, payload: rt.encodeNeighbour(ifindex, address, null), what: `RTM_DELNEIGH ${address}`}, [ENOENT]);
  }

  /** Calls `onChange` for each change of the groups, and with `lost` when the kernel dropped messages; returns how to end it. */
  subscribe(groups: readonly NetlinkGroup[], onChange: (change: NetlinkChange) => void): () => void {
    return subscribeNetlink(this.#netns, groups, onChange);
  }

  /** Changes of links, to be asked for: what the kernel announced before this socket got its last answer is there. */
  linkChanges(): LinkChanges {
    return LinkChanges.open(this.#netns);
  }

  async #dump(type: number, payload: Uint8Array, what: string): Promise<readonly Answer[]> {
    return this.query({type, flags: NLM_F_DUMP, payload, what});
  }

  async #remove(message: Message, absent: readonly number[]): Promise<boolean> {
    const [error] = await this.tryAll([message]);
    if (error === null || error === undefined) return true;
    if (isOneOf(error, absent)) return false;
    throw error;
  }

  #exchange(messages: readonly Message[]): Promise<readonly Answered[]> {
    const result = this.#turn.then(() => this.#exchangeNow(messages));
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async #exchangeNow(messages: readonly Message[]): Promise<readonly Answered[]> {
    if (messages.length === 0) return [];
    const first = this.#sequence;
    this.#sequence = (first + messages.length) % 0x7fffffff;
    const answer = await native().netlinkExchange(this.#fd.number, encodeMessages(messages, first), messages.length);
    if (typeof answer === 'number') {
      // Answers may still be on their way to this socket: it is of no more use.
      this.#fd.close();
      this.#fd = openSocket(this.#netns);
      throw kernelError(answer, 'netlink', {messages: messages.map((message) => message.what).slice(0, 3)});
    }
    return sortAnswers(messages, first, decodeMessages(answer));
  }
}

const EADDRNOTAVAIL = 99;

export interface Answered {
  readonly error: StentorError | null;
  readonly answers: readonly Answer[];
}

function sortAnswers(messages: readonly Message[], first: number, answers: readonly Answer[]): Answered[] {
  const sorted = messages.map((): {error: StentorError | null; answers: Answer[]} => ({error: null, answers: []}));
  for (const answer of answers) {
    const slot = sorted[answer.sequence - first];
    const message = messages[answer.sequence - first];
    if (slot === undefined || message === undefined) continue;
    if (answer.type === NLMSG_ERROR || answer.type === NLMSG_DONE) slot.error = errorOf(answer, message.what, flagsOf(answer));
    else slot.answers.push(answer);
  }
  return sorted;
}

function openSocket(netns: NetnsHandle): Fd {
  return new Fd(check(native().netlinkOpen(netns.fd, NETLINK_ROUTE, 0), 'socket', {family: 'AF_NETLINK'}), 'netlink');
}

export function replaceRouteMessage(route: rt.RouteInput): Message {
  return {type: RTM.NEWROUTE, flags: NLM_F_CREATE | NLM_F_REPLACE, payload: rt.encodeRoute(route), what: `RTM_NEWROUTE ${route.prefix}`};
}

function isOneOf(error: unknown, errnos: readonly number[]): boolean {
  return error instanceof StentorError && errnos.some((errno) => kernelError(-errno, '').code === error.code);
}

function raise(error: unknown): never {
  throw error;
}
