/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who has an IPv6 address: as lookup.h; and which of them the configuration names. The lookups are functions of their own, so that
 * their keys are not on the stack while something else runs.
 */
#pragma once

#include "config.h"
#include "ipv6.h"
#include "lookup.h"

static __noinline __maybe_unused struct endpoint_info *lookup_endpoint6(const struct ipv6_address *addr)
{
	struct endpoint_key key __attribute__((aligned(8))) = {.family = FAMILY_IPV6};

	copy_ipv6((struct ipv6_address *)key.addr, addr);
	return bpf_map_lookup_elem(&cilium_lxc, &key);
}

static __noinline __maybe_unused struct ipcache_value *lookup_ipcache6(const struct ipv6_address *addr)
{
	struct ipcache_key key __attribute__((aligned(8))) = {
		.prefixlen = IPCACHE_STATIC_BITS + 128,
		.family = FAMILY_IPV6,
	};

	copy_ipv6((struct ipv6_address *)key.addr, addr);
	return bpf_map_lookup_elem(&cilium_ipcache, &key);
}

static __always_inline bool in_cidr6(const struct ipv6_address *addr, const volatile struct cidr6 *cidr)
{
	for (int i = 0; i < 4; i++)
		if ((addr->word[i] & cidr->mask.word[i]) != cidr->addr.word[i])
			return false;
	return true;
}

static __always_inline bool in_cidrs6(const struct ipv6_address *addr, const volatile struct cidr6 *cidrs, __u8 count)
{
	for (int i = 0; i < MAX_POD_CIDRS && i < count; i++)
		if (in_cidr6(addr, &cidrs[i]))
			return true;
	return false;
}

static __always_inline bool in_pod_cidr6(const struct ipv6_address *addr)
{
	return in_cidrs6(addr, config_pod_cidrs6, config_pod_cidr6_count);
}

static __always_inline bool is_configured6(const volatile struct ipv6_address *configured, const struct ipv6_address *addr)
{
	return configured->word[0] == addr->word[0] && configured->word[1] == addr->word[1] &&
	       configured->word[2] == addr->word[2] && configured->word[3] == addr->word[3];
}

/* The place of an uplink in config_devices; -1: no such uplink. */
static __always_inline int uplink6(__u32 ifindex)
{
	for (int i = 0; i < MAX_DEVICES && i < config_device_count; i++)
		if (config_devices[i].ifindex == ifindex)
			return i;
	return -1;
}

static __always_inline bool is_device_address6(const struct ipv6_address *addr)
{
	if (is_unspecified(addr))
		return false;
	for (int i = 0; i < MAX_DEVICES && i < config_device_count; i++)
		if (is_configured6(&config_device_ipv6[i], addr))
			return true;
	return false;
}
