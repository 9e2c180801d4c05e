/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A pod's IPv6 neighbours: as for ARP, the veth's host side answers for all. Nothing of this leaves the link. */
#pragma once

#include "events.h"
#include "ipv6.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_ND6

#define ND_HOP_LIMIT 255
#define ND_LEN 24	   /* a solicitation or advertisement without options */
#define ND_WITH_MAC_LEN 32
#define ND_OPTION_TARGET 2
#define ND_ROUTER_SOLICITED_OVERRIDE bpf_htonl(0xe0000000)

struct nd_message {
	__u8 type;
	__u8 code;
	__u16 check;
	__be32 flags;
	struct ipv6_address target;
	__u8 option;
	__u8 option_len; /* in units of eight bytes */
	__u8 mac[6];
} __attribute__((aligned(8)));
_Static_assert(sizeof(struct nd_message) == ND_WITH_MAC_LEN, "a format of the wire");

/* The IPv6 header with what its checksum needs in the same order: addresses, then length and protocol. */
struct pseudo_header6 {
	struct ipv6_address saddr;
	struct ipv6_address daddr;
	__be32 len;
	__be32 nexthdr;
} __attribute__((aligned(8)));

static __always_inline bool is_nd(__u8 type)
{
	return type >= ICMPV6_ROUTER_SOLICITATION && type <= ICMPV6_REDIRECT;
}

static __always_inline bool is_link_message(__u8 type)
{
	return is_nd(type) || type == ICMPV6_MLD_REPORT || type == ICMPV6_MLD_DONE || type == ICMPV6_MLD2_REPORT;
}

static __always_inline __u16 fold_csum(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* Turns the packet into an advertisement of `target` with the veth's MAC and sends it back. */
static __noinline __maybe_unused int nd_answer(struct __sk_buff *skb, struct packet *p, const struct endpoint_config *config,
					       const struct ipv6_address *target)
{
	struct nd_message answer = {
		.type = ICMPV6_NEIGHBOUR_ADVERTISEMENT, .flags = ND_ROUTER_SOLICITED_OVERRIDE, .option = ND_OPTION_TARGET, .option_len = 1,
	};
	struct pseudo_header6 pseudo = {.len = bpf_htonl(sizeof(answer)), .nexthdr = bpf_htonl(IPPROTO_ICMPV6)};
	struct ipv6_header *ip;
	struct eth_header *eth;

	copy_ipv6(&answer.target, target);
	__builtin_memcpy(answer.mac, config->node_mac, sizeof(answer.mac));
	/* A solicitation may come without an option, the answer has one. */
	if (bpf_skb_change_tail(skb, ETH_HLEN + IPV6_LEN + sizeof(answer), 0))
		return DROP(p, DROP_INVALID);
	ip = header_of6(skb);
	if (!ip)
		return DROP(p, DROP_INVALID);
	eth = eth_of(ip);
	copy_mac(eth->dst, config->mac);
	copy_mac(eth->src, config->node_mac);
	copy_ipv6(&ip->daddr, &ip->saddr);
	copy_ipv6(&ip->saddr, &answer.target);
	ip->payload_len = bpf_htons(sizeof(answer));
	ip->hop_limit = ND_HOP_LIMIT;
	copy_ipv6(&pseudo.saddr, &ip->saddr);
	copy_ipv6(&pseudo.daddr, &ip->daddr);
	answer.check = fold_csum(bpf_csum_diff(NULL, 0, (__be32 *)&answer, sizeof(answer),
					       bpf_csum_diff(NULL, 0, (__be32 *)&pseudo, sizeof(pseudo), 0)));
	if (bpf_skb_store_bytes(skb, ETH_HLEN + IPV6_LEN, &answer, sizeof(answer), 0) < 0)
		return DROP(p, DROP_WRITE_ERROR);
	return do_redirect(skb->ifindex);
}

/* Whether the pod may speak of this address on its link: its own, or one of the link. */
static __always_inline bool is_own_on_link(const struct endpoint_config *config, const struct ipv6_address *addr)
{
	return same_ipv6(addr, &config->ipv6) || is_link_local6(addr);
}

/*
 * ICMPv6 that concerns the link alone. A pod speaks for itself only: it is no router, and redirects nobody. What it
 * announces, and its question whether somebody has its own address, is the stack's, which has no answer.
 */
static __noinline __maybe_unused int link_from_container(struct __sk_buff *skb, struct packet *p, const struct endpoint_config *config,
							 struct ipv6_ct_tuple *tuple)
{
	struct nd_message message = {};

	if (!is_nd(p->icmp_type)) /* who listens to which group */
		return is_multicast6(&tuple->daddr) ? TC_ACT_OK : DROP(p, DROP_FORBIDDEN_ICMP6);
	if (p->icmp_type != ICMPV6_NEIGHBOUR_SOLICITATION && p->icmp_type != ICMPV6_NEIGHBOUR_ADVERTISEMENT)
		return DROP(p, DROP_FORBIDDEN_ICMP6);
	if (p->l4_off != ETH_HLEN + IPV6_LEN || p->ttl != ND_HOP_LIMIT || p->icmp_code ||
	    bpf_skb_load_bytes(skb, p->l4_off, &message, ND_LEN) < 0)
		return DROP(p, DROP_INVALID);
	if (p->icmp_type == ICMPV6_NEIGHBOUR_ADVERTISEMENT)
		return is_own_on_link(config, &message.target) ? TC_ACT_OK : DROP(p, DROP_INVALID_SIP);
	if (is_unspecified(&tuple->saddr) || same_ipv6(&message.target, &config->ipv6))
		return TC_ACT_OK;
	return nd_answer(skb, p, config, &message.target);
}
