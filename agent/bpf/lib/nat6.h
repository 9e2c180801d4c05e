/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Masquerading of IPv6, and ICMPv6 errors about it. No header has a checksum of its own; that of ICMPv6 covers the addresses. */
#pragma once

#include "ct6.h"
#include "lookup6.h"
#include "nat.h"

#ifndef BPF_F_IPV6
#define BPF_F_IPV6 (1ULL << 7)
#endif

/* As struct rewrite4. */
struct rewrite6 {
	struct ipv6_address old_addr;
	struct ipv6_address new_addr;
	__be16 old_port;
	__be16 new_port;
	__u16 addr_off;
	__u16 port_off;
} __attribute__((aligned(8)));

#undef SOURCE_FILE
#define SOURCE_FILE FILE_NAT6

static __always_inline __s64 address_diff6(struct rewrite6 *r)
{
	return bpf_csum_diff((__be32 *)&r->old_addr, sizeof(r->old_addr), (__be32 *)&r->new_addr, sizeof(r->new_addr), 0);
}

/*
 * An address is part of every L4 checksum. Where the device has summed up the packet, that sum has to follow; kernels
 * before 6.16 do not know how for IPv6 and refuse the flag.
 */
static __always_inline long csum_address6(struct __sk_buff *skb, __u32 off, struct rewrite6 *r, __u8 protocol, __u64 flags)
{
	__s64 diff = address_diff6(r);
	long ret = bpf_l4_csum_replace(skb, off, 0, diff, BPF_F_PSEUDO_HDR | BPF_F_IPV6 | flags);

	return ret == -EINVAL ? bpf_l4_csum_replace(skb, off, 0, diff, BPF_F_PSEUDO_HDR | flags) : ret;
}

static __always_inline int store_address6(struct __sk_buff *skb, struct packet *p, struct rewrite6 *r)
{
	return bpf_skb_store_bytes(skb, r->addr_off, &r->new_addr, sizeof(r->new_addr), 0) < 0 ? DROP(p, DROP_WRITE_ERROR) : 0;
}

#include "family6.h"
#include "nat_family.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_NAT6

/* Address and port of the quoted packet. */
static __noinline __maybe_unused int rewrite_quoted6(struct __sk_buff *skb, struct packet *p, struct inner_packet6 *inner, struct rewrite6 *r)
{
	__u32 csum_off = p->l4_off + ICMP_CSUM_OFF;

	if (bpf_l4_csum_replace(skb, csum_off, 0, address_diff6(r), 0) < 0 ||
	    bpf_skb_store_bytes(skb, r->addr_off, &r->new_addr, sizeof(r->new_addr), 0) < 0)
		return DROP(p, DROP_CSUM_L4);
	if (r->old_port == r->new_port)
		return 0;
	if (bpf_l4_csum_replace(skb, csum_off, r->old_port, r->new_port, 2) < 0 ||
	    bpf_skb_store_bytes(skb, inner->l4_off + r->port_off, &r->new_port, 2, 0) < 0)
		return DROP(p, DROP_CSUM_L4);
	return 0;
}

#include "nat_icmp_family.h"
