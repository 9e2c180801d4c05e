/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A pod's neighbours: whatever it asks for is behind its veth, so the veth's host side answers for all. */
#pragma once

#include "events.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_ARP

#define ARP_LEN (ETH_HLEN + sizeof(struct arp_header))

static __always_inline int arp_from_container(struct __sk_buff *skb, struct packet *p,
					      const struct endpoint_config *config)
{
	struct eth_header *eth;
	struct arp_header *arp;
	void *data;
	__be32 target;

	if (skb->len < ARP_LEN || bpf_skb_pull_data(skb, ARP_LEN))
		return DROP(p, DROP_INVALID);
	data = packet_data(skb);
	if (data + ARP_LEN > packet_end(skb))
		return DROP(p, DROP_INVALID);
	eth = data;
	arp = data + ETH_HLEN;
	if (arp->htype != bpf_htons(ARPHRD_ETHER) || arp->ptype != bpf_htons(ETH_P_IP) || arp->hlen != 6 || arp->plen != 4)
		return DROP(p, DROP_INVALID);
	/* A pod speaks for itself only; a probe (RFC 5227) has no sender address yet. */
	if (!same_mac(eth->src, config->mac) || !same_mac(arp->sha, config->mac) ||
	    (arp->spa && arp->spa != config->ipv4))
		return DROP(p, DROP_INVALID_SIP);
	/* Answers to the host, and the pod asking whether somebody has its own address: nobody else does. */
	if (arp->op != bpf_htons(ARPOP_REQUEST) || arp->tpa == config->ipv4)
		return TC_ACT_OK;
	target = arp->tpa;
	copy_mac(eth->dst, config->mac);
	copy_mac(eth->src, config->node_mac);
	arp->op = bpf_htons(ARPOP_REPLY);
	copy_mac(arp->tha, config->mac);
	arp->tpa = arp->spa;
	copy_mac(arp->sha, config->node_mac);
	arp->spa = target;
	return do_redirect(skb->ifindex);
}
