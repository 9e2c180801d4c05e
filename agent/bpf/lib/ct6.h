/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Connection tracking of IPv6: the rules, entries and states of ct.h, with keys of its own. */
#pragma once

#include "ct.h"
#include "ipv6.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_CT6

static __always_inline struct ct_entry *ct6_find(struct ipv6_ct_tuple *key)
{
	if (key->nexthdr == IPPROTO_TCP) {
		struct ct_entry *entry = bpf_map_lookup_elem(&cilium_ct6_global, key);

		barrier();
		return entry;
	}
	return bpf_map_lookup_elem(&cilium_ct_any6_global, key);
}

static __always_inline void ct6_reverse(const struct ipv6_ct_tuple *tuple, struct ipv6_ct_tuple *reversed)
{
	copy_ipv6(&reversed->daddr, &tuple->saddr);
	copy_ipv6(&reversed->saddr, &tuple->daddr);
	reversed->dport = tuple->sport;
	reversed->sport = tuple->dport;
	reversed->nexthdr = tuple->nexthdr;
}

/* Whether somebody's connection has this key. Sets its flags. */
static __always_inline bool ct6_knows(const struct packet *p, struct ipv6_ct_tuple *key, __u8 flags)
{
	struct ct_entry *entry;

	key->flags = flags;
	entry = ct6_find(key);
	return entry && !ct_expired(entry, p->now);
}

/* An error that goes to the endpoint quotes what the endpoint sent, and the other way round. */
static __noinline __maybe_unused int ct6_lookup_error(struct __sk_buff *skb, struct packet *p)
{
	struct inner_packet6 inner __attribute__((aligned(8))) = {};
	STACK_TUPLE6(reversed);
	bool sent = p->dir == METRIC_INGRESS;
	int ret;

	p->ct = CT_NEW;
	ret = parse_inner6(skb, p, &inner);
	if (ret < 0)
		return ret;
	ct6_reverse(&inner.tuple, &reversed);
	if (ct6_knows(p, &inner.tuple, sent ? TUPLE_OUT : TUPLE_IN) || ct6_knows(p, &reversed, sent ? TUPLE_IN : TUPLE_OUT))
		p->ct = CT_RELATED;
	return 0;
}

/* Sets p->ct, and counts the packet on its entry. Reverse first: an answer is never taken for a new connection. */
static __noinline __maybe_unused int ct6_lookup(struct __sk_buff *skb, struct packet *p, struct ipv6_ct_tuple *tuple)
{
	STACK_TUPLE6(key);
	struct ct_entry *entry;

	p->monitor = 0;
	if (unlikely(p->flags & PACKET_ICMP_ERROR))
		return ct6_lookup_error(skb, p);
	ct6_reverse(tuple, &key);
	key.flags = p->dir == METRIC_EGRESS ? TUPLE_IN : TUPLE_OUT;
	entry = ct6_find(&key);
	if (entry && !ct_expired(entry, p->now) && !(ct_closing(entry) && is_pure_syn(p))) {
		ct_update(skb, p, entry, true);
		p->ct = CT_REPLY;
		return 0;
	}
	copy_tuple6(&key, tuple);
	key.flags = p->dir == METRIC_EGRESS ? TUPLE_OUT : TUPLE_IN;
	entry = ct6_find(&key);
	if (entry && !ct_expired(entry, p->now) && !(ct_closing(entry) && is_pure_syn(p))) {
		ct_update(skb, p, entry, false);
		p->ct = CT_ESTABLISHED;
		return 0;
	}
	p->monitor = 1;
	p->ct = CT_NEW;
	return 0;
}

/* For a NEW packet that may pass. Errors make no entries. */
static __noinline __maybe_unused int ct6_create(struct __sk_buff *skb, struct packet *p, struct ipv6_ct_tuple *tuple)
{
	struct ct_entry entry = {};
	STACK_TUPLE6(key);
	long ret;

	if (p->flags & PACKET_ICMP_ERROR)
		return 0;
	copy_tuple6(&key, tuple);
	key.flags = p->dir == METRIC_EGRESS ? TUPLE_OUT : TUPLE_IN;
	ct_begin(skb, p, &entry);
	if (key.nexthdr == IPPROTO_TCP)
		ret = do_ct_insert(&cilium_ct6_global, &key, &entry);
	else
		ret = do_ct_insert(&cilium_ct_any6_global, &key, &entry);
	return ret < 0 ? DROP(p, DROP_CT_CREATE_FAILED) : 0;
}

/* Whether a packet that leaves a pod answers somebody who opened the connection, or is about such a connection. */
static __noinline __maybe_unused int ct6_is_reply(struct __sk_buff *skb, struct packet *p, struct ipv6_ct_tuple *tuple)
{
	struct inner_packet6 inner __attribute__((aligned(8))) = {};
	STACK_TUPLE6(reversed);

	if (p->flags & PACKET_ICMP_ERROR)
		return parse_inner6(skb, p, &inner) == 0 && ct6_knows(p, &inner.tuple, TUPLE_IN);
	ct6_reverse(tuple, &reversed);
	return ct6_knows(p, &reversed, TUPLE_IN);
}
