/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whether a packet that leaves through an uplink is masqueraded: Cilium's exclusions. */
#pragma once

#include "nat4.h"
#include "nat6.h"

/* Other nodes route to pods natively; through the tunnel only pods are reached, so a node's own address is not excluded. */
static __always_inline bool is_node_by_route(const struct ipcache_value *entry)
{
	if (!entry || (entry->sec_identity != REMOTE_NODE_ID && entry->sec_identity != KUBE_APISERVER_ID))
		return false;
	return !config_tunnel_mode || entry->flags & IPCACHE_SKIP_TUNNEL;
}

static __always_inline bool is_never_masqueraded4(__be32 addr)
{
	return in_cidrs(addr, config_snat_exclusions, config_snat_exclusion_count);
}

static __always_inline bool is_never_masqueraded6(const struct ipv6_address *addr)
{
	return in_cidrs6(addr, config_snat_exclusions6, config_snat_exclusion6_count);
}

#include "family4.h"
#include "masquerade_family.h"

#include "family6.h"
#include "masquerade_family.h"
