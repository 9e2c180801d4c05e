/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Masquerading of IPv6: as nat.h, one flow's two entries in cilium_snat_v6_external. No header has a checksum of its own. */
#pragma once

#include "ct6.h"
#include "lookup6.h"
#include "nat.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_NAT6

#ifndef BPF_F_IPV6
#define BPF_F_IPV6 (1ULL << 7)
#endif

/* What masquerading changes of a packet: one address and the port beside it. */
struct rewrite6 {
	struct ipv6_address old_addr;
	struct ipv6_address new_addr;
	__be16 old_port;
	__be16 new_port;
	__u16 addr_off; /* in the packet */
	__u16 port_off; /* in the L4 header; of an echo, its identifier */
};

#define STACK_REWRITE6(name) struct rewrite6 name __attribute__((aligned(8)))

static __always_inline bool is_echo6(const struct packet *p)
{
	return p->tuple.nexthdr == IPPROTO_ICMPV6 && (p->icmp_type == ICMPV6_ECHO_REQUEST || p->icmp_type == ICMPV6_ECHO_REPLY);
}

/* An echo has one identifier for both sides: it takes the place of the port of whoever is masqueraded. */
static __always_inline __be16 echo_id6(const struct packet *p)
{
	return p->icmp_type == ICMPV6_ECHO_REPLY ? p->tuple.sport : p->tuple.dport;
}

static __always_inline bool can_nat6(const struct packet *p)
{
	return has_nat_ports(p->tuple.nexthdr) || is_echo6(p);
}

/* Key of a packet that leaves. Echoes: identifier as source port. */
static __always_inline void nat6_key_out(const struct packet *p, const struct ipv6_ct_tuple *tuple, struct ipv6_ct_tuple *key)
{
	copy_tuple6(key, tuple);
	key->flags = TUPLE_OUT;
	if (key->nexthdr == IPPROTO_ICMPV6) {
		key->sport = echo_id6(p);
		key->dport = 0;
	}
}

/* Key of the answers to `out` once it leaves as `mapping` says. */
static __always_inline void nat6_key_in(const struct ipv6_ct_tuple *out, const struct ipv6_nat_entry *mapping,
					struct ipv6_ct_tuple *in)
{
	copy_ipv6(&in->daddr, &mapping->to_addr);
	copy_ipv6(&in->saddr, &out->daddr);
	in->dport = mapping->to_port;
	in->sport = out->dport;
	in->nexthdr = out->nexthdr;
	in->flags = TUPLE_IN;
}

/*
 * An address is part of every L4 checksum. Where the device has summed up the packet, that sum has to follow; kernels
 * before 6.16 do not know how for IPv6 and refuse the flag.
 */
static __always_inline long csum_replace_address6(struct __sk_buff *skb, __u32 off, struct rewrite6 *r, __u64 flags)
{
	__s64 diff = bpf_csum_diff((__be32 *)&r->old_addr, sizeof(r->old_addr), (__be32 *)&r->new_addr, sizeof(r->new_addr), 0);
	long ret = bpf_l4_csum_replace(skb, off, 0, diff, BPF_F_PSEUDO_HDR | BPF_F_IPV6 | flags);

	return ret == -EINVAL ? bpf_l4_csum_replace(skb, off, 0, diff, BPF_F_PSEUDO_HDR | flags) : ret;
}

static __always_inline int l4_csum_off6(__u8 protocol)
{
	return protocol == IPPROTO_ICMPV6 ? ICMP_CSUM_OFF : l4_csum_off(protocol);
}

/* Checksums before bytes: each helper works on what is in the packet then. */
static __noinline __maybe_unused int nat6_rewrite(struct __sk_buff *skb, struct packet *p, struct rewrite6 *r)
{
	__u8 protocol = p->tuple.nexthdr;
	__u64 udp = protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	int csum_off = p->l4_off + l4_csum_off6(protocol);
	bool readdress = !same_ipv6(&r->old_addr, &r->new_addr);

	if (!(p->flags & PACKET_LATER_FRAGMENT)) {
		if (readdress && csum_replace_address6(skb, csum_off, r, udp) < 0)
			return DROP(p, DROP_CSUM_L4);
		if (r->old_port != r->new_port &&
		    (bpf_l4_csum_replace(skb, csum_off, r->old_port, r->new_port, 2 | udp) < 0 ||
		     bpf_skb_store_bytes(skb, p->l4_off + r->port_off, &r->new_port, 2, 0) < 0))
			return DROP(p, DROP_CSUM_L4);
	}
	if (readdress && bpf_skb_store_bytes(skb, r->addr_off, &r->new_addr, sizeof(r->new_addr), 0) < 0)
		return DROP(p, DROP_WRITE_ERROR);
	return 0;
}

static __always_inline void count_retries6(__u32 retries)
{
	__u32 *count = bpf_map_lookup_elem(&cilium_snat_v6_alloc_retries, &retries);

	if (count)
		(*count)++;
}

static __always_inline void nat6_back(const struct ipv6_ct_tuple *out, const struct ipv6_nat_entry *mapping, struct ipv6_nat_entry *back)
{
	back->created = mapping->created;
	copy_ipv6(&back->to_addr, &out->saddr);
	back->to_port = out->sport;
}

/* As nat_allocate: the answers' entry goes in first and only where none is. */
static __noinline __maybe_unused int nat6_allocate(struct packet *p, struct ipv6_ct_tuple *out, struct ipv6_nat_entry *mapping)
{
	__u32 first = config_snat_port_min, count = config_snat_port_max - config_snat_port_min + 1;
	struct ipv6_nat_entry back = {};
	STACK_TUPLE6(in);
	__u32 port = bpf_ntohs(out->sport);

	nat6_back(out, mapping, &back);
	if (!in_snat_range(out->sport))
		port = first + bpf_get_prandom_u32() % count;
	for (__u32 retries = 0; retries < SNAT_RETRIES; retries++) {
		mapping->to_port = bpf_htons(port);
		nat6_key_in(out, mapping, &in);
		if (bpf_map_update_elem(&cilium_snat_v6_external, &in, &back, BPF_NOEXIST) == 0) {
			count_retries6(retries);
			if (bpf_map_update_elem(&cilium_snat_v6_external, out, mapping, BPF_ANY) == 0)
				return 0;
			bpf_map_delete_elem(&cilium_snat_v6_external, &in);
			return DROP(p, DROP_NAT_NO_MAPPING);
		}
		port = retries == 0 ? first + bpf_get_prandom_u32() % count : port >= config_snat_port_max ? first : port + 1;
	}
	count_retries6(SNAT_RETRIES);
	return DROP(p, DROP_NAT_NO_MAPPING);
}

/* The answers' entry of a known flow is still there, or could be put back. */
static __always_inline bool nat6_restore_in(struct ipv6_ct_tuple *out, const struct ipv6_nat_entry *mapping, struct ipv6_ct_tuple *in)
{
	struct ipv6_nat_entry back = {}, *known;

	nat6_key_in(out, mapping, in);
	known = bpf_map_lookup_elem(&cilium_snat_v6_external, in);
	if (known)
		return same_ipv6(&known->to_addr, &out->saddr) && known->to_port == out->sport;
	nat6_back(out, mapping, &back);
	return bpf_map_update_elem(&cilium_snat_v6_external, in, &back, BPF_NOEXIST) == 0;
}

/* 1: `mapping` is that of a known flow. 0: there is none with the address that it has; one with another is forgotten. */
static __noinline __maybe_unused int nat6_known(struct ipv6_ct_tuple *out, struct ipv6_nat_entry *mapping)
{
	struct ipv6_nat_entry *known = bpf_map_lookup_elem(&cilium_snat_v6_external, out);
	STACK_TUPLE6(in);

	if (!known)
		return 0;
	if (same_ipv6(&known->to_addr, &mapping->to_addr)) {
		*mapping = *known;
		if (nat6_restore_in(out, mapping, &in))
			return 1;
	} else {
		/* The uplink's address changed: start again. */
		nat6_key_in(out, known, &in);
		bpf_map_delete_elem(&cilium_snat_v6_external, &in);
	}
	bpf_map_delete_elem(&cilium_snat_v6_external, out);
	return 0;
}

static __noinline __maybe_unused int nat6_source(struct __sk_buff *skb, struct packet *p, const struct ipv6_ct_tuple *out,
						 const struct ipv6_nat_entry *mapping)
{
	STACK_REWRITE6(r);

	copy_ipv6(&r.old_addr, &out->saddr);
	copy_ipv6(&r.new_addr, &mapping->to_addr);
	r.old_port = out->sport;
	r.new_port = mapping->to_port;
	r.addr_off = IPV6_OFF(saddr);
	r.port_off = out->nexthdr == IPPROTO_ICMPV6 ? ICMP_ID_OFF : 0;
	return nat6_rewrite(skb, p, &r);
}

/* A packet that leaves through an uplink and is to have `addr` as its source; none where the uplink has no address. */
static __noinline __maybe_unused int nat6_out(struct __sk_buff *skb, struct packet *p, struct ipv6_ct_tuple *tuple,
					      const struct ipv6_address *addr)
{
	struct ipv6_nat_entry mapping = {};
	STACK_TUPLE6(out);
	int ret;

	if (!can_nat6(p))
		return DROP(p, DROP_NAT_UNSUPP_PROTO);
	if (is_unspecified(addr))
		return DROP(p, DROP_NAT_NO_MAPPING);
	nat6_key_out(p, tuple, &out);
	copy_ipv6(&mapping.to_addr, addr);
	if (!nat6_known(&out, &mapping)) {
		mapping.created = now_ns();
		ret = nat6_allocate(p, &out, &mapping);
		if (ret < 0)
			return ret;
	}
	return nat6_source(skb, p, &out, &mapping);
}

/* A known flow's entry for packets that leave, put back when it is gone. */
static __noinline __maybe_unused int nat6_restore_out(const struct ipv6_ct_tuple *in, const struct ipv6_nat_entry *back)
{
	struct ipv6_nat_entry mapping = {.created = back->created, .to_port = in->dport};
	STACK_TUPLE6(out);

	copy_ipv6(&mapping.to_addr, &in->daddr);
	copy_ipv6(&out.daddr, &in->saddr);
	copy_ipv6(&out.saddr, &back->to_addr);
	out.dport = in->sport;
	out.sport = back->to_port;
	out.nexthdr = in->nexthdr;
	out.flags = TUPLE_OUT;
	if (!bpf_map_lookup_elem(&cilium_snat_v6_external, &out))
		bpf_map_update_elem(&cilium_snat_v6_external, &out, &mapping, BPF_NOEXIST);
	return 0;
}

/* Key of the flow that a packet to an uplink's address may answer. */
static __always_inline bool nat6_answered(const struct packet *p, const struct ipv6_ct_tuple *tuple, struct ipv6_ct_tuple *in)
{
	copy_tuple6(in, tuple);
	in->flags = TUPLE_IN;
	if (tuple->nexthdr != IPPROTO_ICMPV6)
		return has_nat_ports(tuple->nexthdr) && in_snat_range(in->dport);
	in->dport = echo_id6(p);
	in->sport = 0;
	return p->icmp_type == ICMPV6_ECHO_REPLY && in_snat_range(in->dport);
}

/*
 * A packet to an uplink's address: 1 and a new destination in packet, `p` and `tuple` when it answers a masqueraded
 * flow, 0 when it is the node's own.
 */
static __noinline __maybe_unused int nat6_in(struct __sk_buff *skb, struct packet *p, struct ipv6_ct_tuple *tuple)
{
	struct ipv6_nat_entry *known, back;
	STACK_REWRITE6(r);
	STACK_TUPLE6(in);
	int ret;

	if (!nat6_answered(p, tuple, &in))
		return 0;
	known = bpf_map_lookup_elem(&cilium_snat_v6_external, &in);
	if (!known)
		return 0;
	back = *known;
	nat6_restore_out(&in, &back);
	if (same_ipv6(&back.to_addr, &in.daddr) && back.to_port == in.dport)
		return 0; /* the node's own connection, port unchanged */
	copy_ipv6(&r.old_addr, &in.daddr);
	copy_ipv6(&r.new_addr, &back.to_addr);
	r.old_port = in.dport;
	r.new_port = back.to_port;
	r.addr_off = IPV6_OFF(daddr);
	r.port_off = in.nexthdr == IPPROTO_ICMPV6 ? ICMP_ID_OFF : 2;
	ret = nat6_rewrite(skb, p, &r);
	if (ret < 0)
		return ret;
	copy_ipv6(&tuple->daddr, &back.to_addr);
	if (in.nexthdr == IPPROTO_ICMPV6)
		p->tuple.sport = tuple->sport = back.to_port; /* of a reply, the identifier */
	else
		p->tuple.dport = tuple->dport = back.to_port;
	return 1;
}
