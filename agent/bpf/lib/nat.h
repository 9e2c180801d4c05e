/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Masquerading: pods reach the world with their uplink's address. Every flow has two entries, one per direction, and
 * either brings the other back when the LRU took it. The node's own connections from the same port range are tracked
 * too, so that no port is given out twice.
 */
#pragma once

#include "ct.h"
#include "lookup.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_NAT

/* What masquerading changes of a packet: one address and the port beside it. */
struct rewrite {
	__be32 old_addr;
	__be32 new_addr;
	__be16 old_port;
	__be16 new_port;
	__u16 addr_off; /* in the packet */
	__u16 port_off; /* in the L4 header; of an echo, its identifier */
};

static __always_inline bool in_snat_range(__be16 port)
{
	__u16 host_port = bpf_ntohs(port);

	return host_port >= config_snat_port_min && host_port <= config_snat_port_max;
}

/* An echo has one identifier for both sides: it takes the place of the port of whoever is masqueraded. */
static __always_inline __be16 echo_id(const struct packet *p)
{
	return p->icmp_type == ICMP_ECHOREPLY ? p->tuple.sport : p->tuple.dport;
}

static __always_inline bool is_echo(const struct packet *p)
{
	return p->tuple.nexthdr == IPPROTO_ICMP && (p->icmp_type == ICMP_ECHO || p->icmp_type == ICMP_ECHOREPLY);
}

static __always_inline bool has_nat_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
}

/* Key of a packet that leaves. Echoes: identifier as source port. */
static __always_inline void nat_key_out(const struct packet *p, struct ipv4_ct_tuple *key)
{
	*key = p->tuple;
	key->flags = TUPLE_OUT;
	if (p->tuple.nexthdr == IPPROTO_ICMP) {
		key->sport = echo_id(p);
		key->dport = 0;
	}
}

/* Key of the answers to `out` once its source is `addr` and `port`. */
static __always_inline void nat_key_in(const struct ipv4_ct_tuple *out, __be32 addr, __be16 port,
				       struct ipv4_ct_tuple *in)
{
	in->daddr = addr;
	in->saddr = out->daddr;
	in->dport = port;
	in->sport = out->dport;
	in->nexthdr = out->nexthdr;
	in->flags = TUPLE_IN;
}

static __always_inline int l4_csum_off(__u8 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return TCP_CSUM_OFF;
	case IPPROTO_UDP:
		return UDP_CSUM_OFF;
	case IPPROTO_ICMP:
		return ICMP_CSUM_OFF;
	default:
		return -1;
	}
}

/* Checksums before bytes: each helper works on what is in the packet then. */
static __noinline __maybe_unused int nat_rewrite(struct __sk_buff *skb, struct packet *p, struct rewrite *r)
{
	__u8 protocol = p->tuple.nexthdr;
	__u64 udp = protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	int csum_off = p->l4_off + l4_csum_off(protocol);

	if (!(p->flags & PACKET_LATER_FRAGMENT)) {
		if (protocol != IPPROTO_ICMP && r->old_addr != r->new_addr &&
		    bpf_l4_csum_replace(skb, csum_off, r->old_addr, r->new_addr, 4 | BPF_F_PSEUDO_HDR | udp) < 0)
			return DROP(p, DROP_CSUM_L4);
		if (r->old_port != r->new_port &&
		    (bpf_l4_csum_replace(skb, csum_off, r->old_port, r->new_port, 2 | udp) < 0 ||
		     bpf_skb_store_bytes(skb, p->l4_off + r->port_off, &r->new_port, 2, 0) < 0))
			return DROP(p, DROP_CSUM_L4);
	}
	if (r->old_addr != r->new_addr &&
	    (bpf_l3_csum_replace(skb, IPV4_OFF(check), r->old_addr, r->new_addr, 4) < 0 ||
	     bpf_skb_store_bytes(skb, r->addr_off, &r->new_addr, 4, 0) < 0))
		return DROP(p, DROP_CSUM_L3);
	return 0;
}

static __always_inline void count_retries(__u32 retries)
{
	__u32 *count = bpf_map_lookup_elem(&cilium_snat_v4_alloc_retries, &retries);

	if (count)
		(*count)++;
}

/*
 * A port for a new flow: its own if that lies in the range and is free towards this peer, else a random one and those
 * after it. The answers' entry goes in first and only where none is, so that two processors never share a port.
 */
static __noinline __maybe_unused int nat_allocate(struct packet *p, struct ipv4_ct_tuple *out, struct ipv4_nat_entry *mapping)
{
	__u32 first = config_snat_port_min, count = config_snat_port_max - config_snat_port_min + 1;
	struct ipv4_nat_entry back = {.created = mapping->created, .to_addr = out->saddr, .to_port = out->sport};
	struct ipv4_ct_tuple in = {};
	__u32 port = bpf_ntohs(out->sport);

	if (!in_snat_range(out->sport))
		port = first + bpf_get_prandom_u32() % count;
	for (__u32 retries = 0; retries < SNAT_RETRIES; retries++) {
		mapping->to_port = bpf_htons(port);
		nat_key_in(out, mapping->to_addr, mapping->to_port, &in);
		if (bpf_map_update_elem(&cilium_snat_v4_external, &in, &back, BPF_NOEXIST) == 0) {
			count_retries(retries);
			if (bpf_map_update_elem(&cilium_snat_v4_external, out, mapping, BPF_ANY) == 0)
				return 0;
			bpf_map_delete_elem(&cilium_snat_v4_external, &in);
			return DROP(p, DROP_NAT_NO_MAPPING);
		}
		if (retries == 0)
			port = first + bpf_get_prandom_u32() % count;
		else
			port = port >= config_snat_port_max ? first : port + 1;
	}
	count_retries(SNAT_RETRIES);
	return DROP(p, DROP_NAT_NO_MAPPING);
}

/* The answers' entry of a known flow is still there, or could be put back. */
static __always_inline bool nat_restore_in(struct ipv4_ct_tuple *out, const struct ipv4_nat_entry *mapping)
{
	struct ipv4_nat_entry back = {.created = mapping->created, .to_addr = out->saddr, .to_port = out->sport}, *known;
	struct ipv4_ct_tuple in = {};

	nat_key_in(out, mapping->to_addr, mapping->to_port, &in);
	known = bpf_map_lookup_elem(&cilium_snat_v4_external, &in);
	if (!known)
		return bpf_map_update_elem(&cilium_snat_v4_external, &in, &back, BPF_NOEXIST) == 0;
	return known->to_addr == out->saddr && known->to_port == out->sport;
}

/* `mapping`: address and port that `out` leaves with. `addr`: what the address has to be now. */
static __noinline __maybe_unused int nat_map_out(struct packet *p, struct ipv4_ct_tuple *out, __be32 addr,
				  struct ipv4_nat_entry *mapping)
{
	struct ipv4_nat_entry *known = bpf_map_lookup_elem(&cilium_snat_v4_external, out);
	struct ipv4_ct_tuple in = {};

	if (known) {
		*mapping = *known;
		if (mapping->to_addr == addr && nat_restore_in(out, mapping))
			return 0;
		/* The uplink's address changed, or somebody else has the port: start again. */
		nat_key_in(out, mapping->to_addr, mapping->to_port, &in);
		if (mapping->to_addr != addr)
			bpf_map_delete_elem(&cilium_snat_v4_external, &in);
		bpf_map_delete_elem(&cilium_snat_v4_external, out);
	}
	*mapping = (struct ipv4_nat_entry){.created = now_ns(), .to_addr = addr};
	return nat_allocate(p, out, mapping);
}

/* A packet that leaves through an uplink and is to have `addr` as its source. */
static __noinline __maybe_unused int nat_out(struct __sk_buff *skb, struct packet *p, __be32 addr)
{
	struct ipv4_nat_entry mapping = {};
	struct ipv4_ct_tuple out = {};
	struct rewrite r = {.addr_off = IPV4_OFF(saddr)};
	int ret;

	if (!has_nat_ports(p->tuple.nexthdr) && !is_echo(p))
		return DROP(p, DROP_NAT_UNSUPP_PROTO);
	nat_key_out(p, &out);
	ret = nat_map_out(p, &out, addr, &mapping);
	if (ret < 0)
		return ret;
	r.old_addr = out.saddr;
	r.new_addr = mapping.to_addr;
	r.old_port = out.sport;
	r.new_port = mapping.to_port;
	r.port_off = p->tuple.nexthdr == IPPROTO_ICMP ? ICMP_ID_OFF : 0;
	return nat_rewrite(skb, p, &r);
}

/* A known flow's entry for packets that leave, put back when it is gone. */
static __always_inline void nat_restore_out(const struct ipv4_ct_tuple *in, const struct ipv4_nat_entry *back)
{
	struct ipv4_nat_entry mapping = {.created = back->created, .to_addr = in->daddr, .to_port = in->dport};
	struct ipv4_ct_tuple out = {
		.daddr = in->saddr,
		.saddr = back->to_addr,
		.dport = in->sport,
		.sport = back->to_port,
		.nexthdr = in->nexthdr,
		.flags = TUPLE_OUT,
	};

	if (!bpf_map_lookup_elem(&cilium_snat_v4_external, &out))
		bpf_map_update_elem(&cilium_snat_v4_external, &out, &mapping, BPF_NOEXIST);
}

/*
 * A packet to an uplink's address: 1 and a new destination in packet and `p` when it answers a masqueraded flow,
 * 0 when it is the node's own.
 */
static __noinline __maybe_unused int nat_in(struct __sk_buff *skb, struct packet *p)
{
	struct ipv4_ct_tuple in = p->tuple;
	struct ipv4_nat_entry *known, back;
	struct rewrite r = {.addr_off = IPV4_OFF(daddr)};
	int ret;

	if (p->tuple.nexthdr == IPPROTO_ICMP) {
		if (p->icmp_type != ICMP_ECHOREPLY)
			return 0;
		in.dport = echo_id(p);
		in.sport = 0;
	} else if (!has_nat_ports(p->tuple.nexthdr)) {
		return 0;
	}
	if (!in_snat_range(in.dport))
		return 0;
	in.flags = TUPLE_IN;
	known = bpf_map_lookup_elem(&cilium_snat_v4_external, &in);
	if (!known)
		return 0;
	back = *known;
	nat_restore_out(&in, &back);
	if (back.to_addr == in.daddr && back.to_port == in.dport)
		return 0; /* the node's own connection, port unchanged */
	r.old_addr = in.daddr;
	r.new_addr = back.to_addr;
	r.old_port = in.dport;
	r.new_port = back.to_port;
	r.port_off = p->tuple.nexthdr == IPPROTO_ICMP ? ICMP_ID_OFF : 2;
	ret = nat_rewrite(skb, p, &r);
	if (ret < 0)
		return ret;
	p->tuple.daddr = back.to_addr;
	if (p->tuple.nexthdr == IPPROTO_ICMP)
		p->tuple.sport = back.to_port; /* of a reply, the identifier */
	else
		p->tuple.dport = back.to_port;
	return 1;
}
