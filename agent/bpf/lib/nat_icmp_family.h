/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

#undef SOURCE_FILE
#define SOURCE_FILE FILE_NAT_ICMP_FAMILY
/*
 * ICMP errors about masqueraded flows, in one family: the quoted packet is translated like the flow, and the outer address with it,
 * so that the sender recognises its own packet. Included by nat4.h and nat6.h.
 */

/* Key of the flow that `inner` belongs to. An error that arrives quotes what left here; one that leaves, an answer. */
static __always_inline void FN(quoted_key)(const tuple_t *inner, bool arriving, tuple_t *key)
{
	__be16 id = inner->sport ? inner->sport : inner->dport;

	FN(ct_reverse)(inner, key);
	key->flags = arriving ? TUPLE_IN : TUPLE_OUT;
	if (inner->nexthdr == PROTO_ICMP) {
		key->dport = arriving ? id : 0;
		key->sport = arriving ? 0 : id;
	}
}

/* 1: translated; 0: not about a masqueraded flow. */
static __noinline __maybe_unused int FN(nat_icmp_error)(struct __sk_buff *skb, struct packet *p, tuple_t *tuple, bool arriving)
{
	inner_t inner __attribute__((aligned(8))) = {};
	nat_entry_t *known;
	rewrite_t r = {};
	STACK_TUPLE(key);
	int ret = FN(parse_inner)(skb, p, &inner);

	if (ret < 0)
		return ret;
	FN(quoted_key)(&inner.tuple, arriving, &key);
	known = bpf_map_lookup_elem(&SNAT_MAP, &key);
	if (!known)
		return 0;
	if (arriving)
		COPY_ADDRESS(r.old_addr, key.daddr);
	else
		COPY_ADDRESS(r.old_addr, key.saddr);
	COPY_ADDRESS(r.new_addr, known->to_addr);
	r.old_port = arriving ? key.dport : key.sport;
	r.new_port = known->to_port;
	if (SAME_ADDRESS(r.old_addr, r.new_addr) && r.old_port == r.new_port)
		return 0;
	r.addr_off = inner.l3_off + (arriving ? __builtin_offsetof(header_t, saddr) : __builtin_offsetof(header_t, daddr));
	r.port_off = inner.tuple.nexthdr == PROTO_ICMP ? ICMP_ID_OFF : (arriving ? 0 : 2);
	ret = FN(rewrite_quoted)(skb, p, &inner, &r);
	if (ret < 0)
		return ret;
	/* Then the packet's own address, whose port is none. */
	if (arriving)
		COPY_ADDRESS(r.old_addr, tuple->daddr);
	else
		COPY_ADDRESS(r.old_addr, tuple->saddr);
	r.old_port = r.new_port;
	r.addr_off = arriving ? HEADER_OFF(daddr) : HEADER_OFF(saddr);
	ret = FN(nat_rewrite)(skb, p, &r);
	if (ret < 0)
		return ret;
	if (arriving)
		COPY_ADDRESS(tuple->daddr, r.new_addr);
	else
		COPY_ADDRESS(tuple->saddr, r.new_addr);
	return 1;
}
