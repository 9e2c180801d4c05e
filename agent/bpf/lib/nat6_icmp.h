/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ICMPv6 errors about masqueraded flows: as nat_icmp.h. Their checksum covers the outer addresses too. */
#pragma once

#include "nat6.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_NAT6_ICMP

/* Key of the flow that `inner` belongs to. An error that arrives quotes what left here; one that leaves, an answer. */
static __always_inline void quoted_key6(const struct ipv6_ct_tuple *inner, bool arriving, struct ipv6_ct_tuple *key)
{
	__be16 id = inner->sport ? inner->sport : inner->dport;

	copy_ipv6(&key->daddr, &inner->saddr);
	copy_ipv6(&key->saddr, &inner->daddr);
	key->dport = inner->sport;
	key->sport = inner->dport;
	key->nexthdr = inner->nexthdr;
	key->flags = arriving ? TUPLE_IN : TUPLE_OUT;
	if (inner->nexthdr == IPPROTO_ICMPV6) {
		key->dport = arriving ? id : 0;
		key->sport = arriving ? 0 : id;
	}
}

/* Address and port of the quoted packet. `addr_off` in the packet, `port_off` from the quoted L4 header's start. */
static __noinline __maybe_unused int rewrite_quoted6(struct __sk_buff *skb, struct packet *p, struct rewrite6 *r, __u32 l4_off)
{
	__u32 csum_off = p->l4_off + ICMP_CSUM_OFF;
	__s64 diff = bpf_csum_diff((__be32 *)&r->old_addr, sizeof(r->old_addr), (__be32 *)&r->new_addr, sizeof(r->new_addr), 0);

	if (bpf_l4_csum_replace(skb, csum_off, 0, diff, 0) < 0 ||
	    bpf_skb_store_bytes(skb, r->addr_off, &r->new_addr, sizeof(r->new_addr), 0) < 0)
		return DROP(p, DROP_CSUM_L4);
	if (r->old_port == r->new_port)
		return 0;
	if (bpf_l4_csum_replace(skb, csum_off, r->old_port, r->new_port, 2) < 0 ||
	    bpf_skb_store_bytes(skb, l4_off + r->port_off, &r->new_port, 2, 0) < 0)
		return DROP(p, DROP_CSUM_L4);
	return 0;
}

/* 1: translated; 0: not about a masqueraded flow. */
static __noinline __maybe_unused int nat6_icmp_error(struct __sk_buff *skb, struct packet *p, struct ipv6_ct_tuple *tuple, bool arriving)
{
	struct inner_packet6 inner __attribute__((aligned(8))) = {};
	struct ipv6_nat_entry *known;
	STACK_REWRITE6(r);
	STACK_TUPLE6(key);
	int ret = parse_inner6(skb, p, &inner);

	if (ret < 0)
		return ret;
	quoted_key6(&inner.tuple, arriving, &key);
	known = bpf_map_lookup_elem(&cilium_snat_v6_external, &key);
	if (!known)
		return 0;
	copy_ipv6(&r.old_addr, arriving ? &key.daddr : &key.saddr);
	copy_ipv6(&r.new_addr, &known->to_addr);
	r.old_port = arriving ? key.dport : key.sport;
	r.new_port = known->to_port;
	if (same_ipv6(&r.old_addr, &r.new_addr) && r.old_port == r.new_port)
		return 0;
	r.addr_off = inner.l3_off + (arriving ? __builtin_offsetof(struct ipv6_header, saddr) : __builtin_offsetof(struct ipv6_header, daddr));
	r.port_off = inner.tuple.nexthdr == IPPROTO_ICMPV6 ? ICMP_ID_OFF : (arriving ? 0 : 2);
	ret = rewrite_quoted6(skb, p, &r, inner.l4_off);
	if (ret < 0)
		return ret;
	/* Then the packet's own address, whose port is none. */
	copy_ipv6(&r.old_addr, arriving ? &tuple->daddr : &tuple->saddr);
	r.old_port = r.new_port;
	r.addr_off = arriving ? IPV6_OFF(daddr) : IPV6_OFF(saddr);
	ret = nat6_rewrite(skb, p, &r);
	if (ret < 0)
		return ret;
	copy_ipv6(arriving ? &tuple->daddr : &tuple->saddr, &r.new_addr);
	return 1;
}
