/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ICMP errors about masqueraded flows: the quoted packet is translated like the flow, and the outer address with it,
 * so that the sender recognises its own packet.
 */
#pragma once

#include "nat.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_NAT_ICMP

/* Key of the flow that `inner` belongs to. An error that arrives quotes what left here; one that leaves, an answer. */
static __always_inline void quoted_key(const struct ipv4_ct_tuple *inner, bool arriving, struct ipv4_ct_tuple *key)
{
	bool echo = inner->nexthdr == IPPROTO_ICMP;
	__be16 id = inner->sport ? inner->sport : inner->dport;

	key->daddr = inner->saddr;
	key->saddr = inner->daddr;
	key->dport = inner->sport;
	key->sport = inner->dport;
	key->nexthdr = inner->nexthdr;
	key->flags = arriving ? TUPLE_IN : TUPLE_OUT;
	if (echo) {
		key->dport = arriving ? id : 0;
		key->sport = arriving ? 0 : id;
	}
}

/* Replaces bytes of the quoted packet; the error's own checksum covers them. */
static __always_inline int store_quoted(struct __sk_buff *skb, struct packet *p, __u32 off, __be32 old_value,
					__be32 new_value)
{
	if (bpf_l4_csum_replace(skb, p->l4_off + ICMP_CSUM_OFF, old_value, new_value, 4) < 0 ||
	    bpf_skb_store_bytes(skb, off, &new_value, 4, 0) < 0)
		return DROP(p, DROP_CSUM_L4);
	return 0;
}

static __always_inline int store_quoted16(struct __sk_buff *skb, struct packet *p, __u32 off, __be16 old_value,
					  __be16 new_value)
{
	if (bpf_l4_csum_replace(skb, p->l4_off + ICMP_CSUM_OFF, old_value, new_value, 2) < 0 ||
	    bpf_skb_store_bytes(skb, off, &new_value, 2, 0) < 0)
		return DROP(p, DROP_CSUM_L4);
	return 0;
}

/* The quoted header's checksum after its address changed, by RFC 1624. */
static __always_inline __u16 csum_after(__u16 csum, __be32 old_addr, __be32 new_addr)
{
	__u32 sum = (__u16)~csum;

	sum += (__u16)~(old_addr & 0xffff) + (__u16)~(old_addr >> 16);
	sum += (new_addr & 0xffff) + (new_addr >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* Address, its header's checksum, and port of the quoted packet. `addr_off` and `port_off` from its headers' starts. */
static __noinline __maybe_unused int rewrite_quoted(struct __sk_buff *skb, struct packet *p, struct inner_packet *inner,
					     struct rewrite *r)
{
	__u32 check_off = inner->l3_off + __builtin_offsetof(struct ipv4_header, check);
	__u16 check;
	int ret;

	if (bpf_skb_load_bytes(skb, check_off, &check, sizeof(check)) < 0)
		return DROP(p, DROP_INVALID);
	ret = store_quoted16(skb, p, check_off, check, csum_after(check, r->old_addr, r->new_addr));
	if (ret < 0)
		return ret;
	ret = store_quoted(skb, p, inner->l3_off + r->addr_off, r->old_addr, r->new_addr);
	if (ret < 0 || r->old_port == r->new_port)
		return ret;
	return store_quoted16(skb, p, inner->l4_off + r->port_off, r->old_port, r->new_port);
}

/* 1: translated; 0: not about a masqueraded flow. */
static __noinline __maybe_unused int nat_icmp_error(struct __sk_buff *skb, struct packet *p, bool arriving)
{
	__u16 inner_addr = arriving ? __builtin_offsetof(struct ipv4_header, saddr) :
				      __builtin_offsetof(struct ipv4_header, daddr);
	__u16 outer_addr = arriving ? IPV4_OFF(daddr) : IPV4_OFF(saddr);
	struct inner_packet inner = {};
	struct ipv4_nat_entry *known;
	struct ipv4_ct_tuple key = {};
	struct rewrite r = {};
	int ret = parse_inner(skb, p, &inner);

	if (ret < 0)
		return ret;
	quoted_key(&inner.tuple, arriving, &key);
	known = bpf_map_lookup_elem(&cilium_snat_v4_external, &key);
	if (!known)
		return 0;
	r.old_addr = arriving ? key.daddr : key.saddr;
	r.new_addr = known->to_addr;
	r.old_port = arriving ? key.dport : key.sport;
	r.new_port = known->to_port;
	if (r.old_addr == r.new_addr && r.old_port == r.new_port)
		return 0;
	r.addr_off = inner_addr;
	r.port_off = inner.tuple.nexthdr == IPPROTO_ICMP ? ICMP_ID_OFF : (arriving ? 0 : 2);
	ret = rewrite_quoted(skb, p, &inner, &r);
	if (ret < 0)
		return ret;
	if (bpf_l3_csum_replace(skb, IPV4_OFF(check), arriving ? p->tuple.daddr : p->tuple.saddr, r.new_addr, 4) < 0 ||
	    bpf_skb_store_bytes(skb, outer_addr, &r.new_addr, 4, 0) < 0)
		return DROP(p, DROP_CSUM_L3);
	if (arriving)
		p->tuple.daddr = r.new_addr;
	else
		p->tuple.saddr = r.new_addr;
	return 1;
}
