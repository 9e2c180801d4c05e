/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Masquerading: pods reach the world with their uplink's address. Every flow has two entries, one per direction, and
 * either brings the other back when the LRU took it. The node's own connections from the same port range are tracked
 * too, so that no port is given out twice. What has addresses is in nat_family.h, how they are rewritten in nat4.h and nat6.h.
 */
#pragma once

#include "config.h"
#include "packet.h"

static __always_inline bool in_snat_range(__be16 port)
{
	__u16 host_port = bpf_ntohs(port);

	return host_port >= config_snat_port_min && host_port <= config_snat_port_max;
}

static __always_inline bool has_nat_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
}

static __always_inline int l4_csum_off(__u8 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return TCP_CSUM_OFF;
	case IPPROTO_UDP:
		return UDP_CSUM_OFF;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return ICMP_CSUM_OFF;
	default:
		return -1;
	}
}
