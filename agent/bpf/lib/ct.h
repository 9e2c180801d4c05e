/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connection tracking. An entry belongs to one endpoint and one direction (OUT: it opened the connection, IN: it was
 * opened towards it); traffic between two pods of a node has one entry of each kind. The key is in packet order of the
 * first packet. An ICMP error is RELATED when the packet it quotes belongs to an entry.
 */
#pragma once

#include "config.h"
#include "actions.h"
#include "packet.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_CT

/* The numbers are those of trace reasons. */
enum ct_status {
	CT_NEW = 0,
	CT_ESTABLISHED = 1,
	CT_REPLY = 2,
	CT_RELATED = 3,
};

static __always_inline struct ct_entry *ct_find(struct ipv4_ct_tuple *key)
{
	if (key->nexthdr == IPPROTO_TCP) {
		struct ct_entry *entry = bpf_map_lookup_elem(&cilium_ct4_global, key);

		barrier(); /* one call per map: only then can the verifier inline both */
		return entry;
	}
	return bpf_map_lookup_elem(&cilium_ct_any4_global, key);
}

static __always_inline void ct_reverse(const ipv4_ct_tuple_aligned *tuple, struct ipv4_ct_tuple *reversed)
{
	reversed->daddr = tuple->saddr;
	reversed->saddr = tuple->daddr;
	reversed->dport = tuple->sport;
	reversed->sport = tuple->dport;
	reversed->nexthdr = tuple->nexthdr;
}

/* Garbage that was not collected yet. */
static __always_inline bool ct_expired(const struct ct_entry *entry, __u32 now)
{
	return entry->lifetime < now;
}

static __always_inline bool ct_closing(const struct ct_entry *entry)
{
	return entry->flags & (CT_RX_CLOSING | CT_TX_CLOSING);
}

static __always_inline __u32 ct_lifetime(const struct packet *p, __u16 flags)
{
	if (p->tuple.nexthdr != IPPROTO_TCP)
		return config_ct_any_timeout;
	if ((flags & (CT_RX_CLOSING | CT_TX_CLOSING)) == (CT_RX_CLOSING | CT_TX_CLOSING))
		return config_ct_close_timeout;
	return flags & CT_SEEN_NON_SYN ? config_ct_tcp_timeout : config_ct_syn_timeout;
}

static __always_inline bool is_pure_syn(const struct packet *p)
{
	return (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/*
 * FIN closes its own direction; so does RST, but one that comes before both sides have sent SYN ends everything. A
 * connection that is closed on both sides is forgotten soon and no packet prolongs it.
 */
static __always_inline void ct_update_tcp(struct packet *p, struct ct_entry *entry, bool reply)
{
	__u8 *seen = reply ? &entry->rx_flags_seen : &entry->tx_flags_seen;
	__u16 flags = entry->flags;

	if (!(p->tcp_flags & TCP_SYN))
		flags |= CT_SEEN_NON_SYN;
	if (unlikely(p->tcp_flags & (TCP_FIN | TCP_RST))) {
		if (p->tcp_flags & TCP_RST && !(entry->tx_flags_seen & entry->rx_flags_seen & TCP_SYN))
			flags |= CT_RX_CLOSING | CT_TX_CLOSING;
		else
			flags |= reply ? CT_RX_CLOSING : CT_TX_CLOSING;
		if (p->tcp_flags & (TCP_FIN | TCP_RST) & ~*seen)
			p->monitor = 1;
	}
	if (flags != entry->flags)
		entry->flags = flags;
	if (p->tcp_flags & ~*seen)
		*seen |= p->tcp_flags;
}

static __always_inline void ct_update(struct __sk_buff *skb, struct packet *p, struct ct_entry *entry, bool reply)
{
	__u32 lifetime;
	bool closed = (entry->flags & (CT_RX_CLOSING | CT_TX_CLOSING)) == (CT_RX_CLOSING | CT_TX_CLOSING);

	if (p->tuple.nexthdr == IPPROTO_TCP && !(p->flags & PACKET_LATER_FRAGMENT))
		ct_update_tcp(p, entry, reply);
	lifetime = p->now + ct_lifetime(p, entry->flags);
	/* Written only when it changes, so that a busy flow does not bounce the cache line. */
	if (!closed && entry->lifetime != lifetime)
		entry->lifetime = lifetime;
	__sync_fetch_and_add(&entry->packets, 1);
	__sync_fetch_and_add(&entry->bytes, skb->len);
}

/* Whether somebody's connection has this key. */
static __always_inline bool ct_knows(const struct packet *p, const struct ipv4_ct_tuple *tuple, __u8 flags)
{
	struct ipv4_ct_tuple key = *tuple;
	struct ct_entry *entry;

	key.flags = flags;
	entry = ct_find(&key);
	return entry && !ct_expired(entry, p->now);
}

/* An error that goes to the endpoint quotes what the endpoint sent, and the other way round. */
static __noinline __maybe_unused int ct_lookup_error(struct __sk_buff *skb, struct packet *p)
{
	struct inner_packet inner = {};
	struct ipv4_ct_tuple reversed = {};
	bool sent = p->dir == METRIC_INGRESS;
	int ret;

	p->ct = CT_NEW;
	ret = parse_inner(skb, p, &inner);
	if (ret < 0)
		return ret;
	ct_reverse(&inner.tuple, &reversed);
	if (ct_knows(p, &inner.tuple, sent ? TUPLE_OUT : TUPLE_IN) ||
	    ct_knows(p, &reversed, sent ? TUPLE_IN : TUPLE_OUT))
		p->ct = CT_RELATED;
	return 0;
}

/* Sets p->ct, and counts the packet on its entry. Reverse first: an answer is never taken for a new connection. */
static __noinline __maybe_unused int ct_lookup(struct __sk_buff *skb, struct packet *p)
{
	struct ipv4_ct_tuple key = {};
	struct ct_entry *entry;

	p->monitor = 0;
	if (unlikely(p->flags & PACKET_ICMP_ERROR))
		return ct_lookup_error(skb, p);
	ct_reverse(&p->tuple, &key);
	key.flags = p->dir == METRIC_EGRESS ? TUPLE_IN : TUPLE_OUT;
	entry = ct_find(&key);
	/* A SYN on what was a connection opens a new one, and that the other way round. */
	if (entry && !ct_expired(entry, p->now) && !(ct_closing(entry) && is_pure_syn(p))) {
		ct_update(skb, p, entry, true);
		p->ct = CT_REPLY;
		return 0;
	}
	key = p->tuple;
	key.flags = p->dir == METRIC_EGRESS ? TUPLE_OUT : TUPLE_IN;
	entry = ct_find(&key);
	if (entry && !ct_expired(entry, p->now) && !(ct_closing(entry) && is_pure_syn(p))) {
		ct_update(skb, p, entry, false);
		p->ct = CT_ESTABLISHED;
		return 0;
	}
	p->monitor = 1;
	p->ct = CT_NEW;
	return 0;
}

/* A connection's entry after its first packet. `entry` is zero. */
static __always_inline void ct_begin(const struct __sk_buff *skb, const struct packet *p, struct ct_entry *entry)
{
	entry->packets = 1;
	entry->bytes = skb->len;
	entry->src_sec_id = p->src_id;
	entry->tx_flags_seen = p->tcp_flags;
	if (p->tuple.nexthdr == IPPROTO_TCP && !(p->tcp_flags & TCP_SYN))
		entry->flags = CT_SEEN_NON_SYN;
	if (p->tcp_flags & TCP_RST)
		entry->flags |= CT_RX_CLOSING | CT_TX_CLOSING;
	entry->lifetime = p->now + ct_lifetime(p, entry->flags);
}

/* For a NEW packet that may pass. Errors make no entries. */
static __noinline __maybe_unused int ct_create(struct __sk_buff *skb, struct packet *p)
{
	struct ipv4_ct_tuple key = p->tuple;
	struct ct_entry entry = {};
	long ret;

	if (p->flags & PACKET_ICMP_ERROR)
		return 0;
	key.flags = p->dir == METRIC_EGRESS ? TUPLE_OUT : TUPLE_IN;
	ct_begin(skb, p, &entry);
	if (p->tuple.nexthdr == IPPROTO_TCP)
		ret = do_ct_insert(&cilium_ct4_global, &key, &entry);
	else
		ret = do_ct_insert(&cilium_ct_any4_global, &key, &entry);
	return ret < 0 ? DROP(p, DROP_CT_CREATE_FAILED) : 0;
}

/* Whether a packet that leaves a pod answers somebody who opened the connection, or is about such a connection. */
static __noinline __maybe_unused int ct_is_reply(struct __sk_buff *skb, struct packet *p)
{
	struct inner_packet inner = {};
	struct ipv4_ct_tuple reversed = {};

	if (p->flags & PACKET_ICMP_ERROR)
		return parse_inner(skb, p, &inner) == 0 && ct_knows(p, &inner.tuple, TUPLE_IN);
	ct_reverse(&p->tuple, &reversed);
	return ct_knows(p, &reversed, TUPLE_IN);
}
