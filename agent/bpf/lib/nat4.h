/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Masquerading of IPv4, and ICMP errors about it. */
#pragma once

#include "ct4.h"
#include "lookup.h"
#include "nat.h"

/* What masquerading changes of a packet: one address and the port beside it. */
struct rewrite4 {
	__be32 old_addr;
	__be32 new_addr;
	__be16 old_port;
	__be16 new_port;
	__u16 addr_off; /* in the packet */
	__u16 port_off; /* in the L4 header; of an echo, its identifier */
};

#undef SOURCE_FILE
#define SOURCE_FILE FILE_NAT4

/* An ICMP checksum covers no address. */
static __always_inline long csum_address4(struct __sk_buff *skb, __u32 off, struct rewrite4 *r, __u8 protocol, __u64 flags)
{
	return protocol == IPPROTO_ICMP ? 0 : bpf_l4_csum_replace(skb, off, r->old_addr, r->new_addr, 4 | BPF_F_PSEUDO_HDR | flags);
}

static __always_inline int store_address4(struct __sk_buff *skb, struct packet *p, struct rewrite4 *r)
{
	if (bpf_l3_csum_replace(skb, IPV4_OFF(check), r->old_addr, r->new_addr, 4) < 0 ||
	    bpf_skb_store_bytes(skb, r->addr_off, &r->new_addr, 4, 0) < 0)
		return DROP(p, DROP_CSUM_L3);
	return 0;
}

#include "family4.h"
#include "nat_family.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_NAT4

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

/* Address, its header's checksum, and port of the quoted packet. */
static __noinline __maybe_unused int rewrite_quoted4(struct __sk_buff *skb, struct packet *p, struct inner_packet *inner, struct rewrite4 *r)
{
	__u32 check_off = inner->l3_off + __builtin_offsetof(struct ipv4_header, check);
	__u16 check;
	int ret;

	if (bpf_skb_load_bytes(skb, check_off, &check, sizeof(check)) < 0)
		return DROP(p, DROP_INVALID);
	ret = store_quoted16(skb, p, check_off, check, csum_after(check, r->old_addr, r->new_addr));
	if (ret < 0)
		return ret;
	ret = store_quoted(skb, p, r->addr_off, r->old_addr, r->new_addr);
	if (ret < 0 || r->old_port == r->new_port)
		return ret;
	return store_quoted16(skb, p, inner->l4_off + r->port_off, r->old_port, r->new_port);
}

#include "nat_icmp_family.h"
