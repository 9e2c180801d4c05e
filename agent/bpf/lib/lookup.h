/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who has an address: an endpoint of this node, the node itself, or somebody the ipcache knows. */
#pragma once

#include "maps.h"

static __always_inline struct endpoint_info *lookup_endpoint4(__be32 addr)
{
	struct endpoint_key key = {.addr = {addr}, .family = FAMILY_IPV4};

	return bpf_map_lookup_elem(&cilium_lxc, &key);
}

static __always_inline struct ipcache_value *lookup_ipcache4(__be32 addr)
{
	struct ipcache_key key = {
		.prefixlen = IPCACHE_STATIC_BITS + 32,
		.family = FAMILY_IPV4,
		.addr = {addr},
	};

	return bpf_map_lookup_elem(&cilium_ipcache, &key);
}

/* What nobody claims is the world. */
static __always_inline __u32 identity_of(const struct ipcache_value *entry)
{
	return entry ? entry->sec_identity : WORLD_ID;
}

static __always_inline struct endpoint_config *lookup_config(__u32 endpoint_id)
{
	struct endpoint_config *config = bpf_map_lookup_elem(&cilium_ep_config, &endpoint_id);

	return config && config->flags & CONFIG_VALID ? config : NULL;
}
