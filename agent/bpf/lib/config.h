/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the agent sets before load, in .rodata: the verifier sees constants and cuts dead branches. A change means a new
 * object set and LINK_UPDATE. Twin: agent/maps/program-config.ts (the same names, sizes and descriptions).
 */
#pragma once

#include "types.h"

#define CONFIG(type, name, description) volatile const type config_##name

struct cidr4 {
	__be32 addr;
	__be32 mask;
};

struct cidr6 {
	struct ipv6_address addr;
	struct ipv6_address mask;
};

struct device_address {
	__u32 ifindex;
	__be32 ipv4;
};

#define MAX_POD_CIDRS 4
#define MAX_DEVICES 8

CONFIG(__be32, node_ipv4, "Internal address of this node");
CONFIG(__u8, tunnel_mode, "Pods of other nodes are reached through the tunnel");
CONFIG(__u16, tunnel_port, "UDP port of the tunnel") = 8472;
CONFIG(__u32, overlay_ifindex, "ifindex of cilium_vxlan");
CONFIG(struct cidr4, pod_cidrs, "PodCIDRs of this node")[MAX_POD_CIDRS];
CONFIG(__u8, pod_cidr_count, "How many of config_pod_cidrs count");
CONFIG(struct device_address, devices, "Uplinks and the address each masquerades to")[MAX_DEVICES];
CONFIG(__u8, device_count, "How many of config_devices count");
CONFIG(__u8, masquerade, "Masquerade pod traffic that leaves through an uplink");
CONFIG(struct cidr4, snat_exclusions, "Destinations that are never masqueraded")[MAX_POD_CIDRS];
CONFIG(__u8, snat_exclusion_count, "How many of config_snat_exclusions count");
CONFIG(__u8, masquerade_remote_nodes, "Masquerade towards other nodes as well");
CONFIG(__u16, snat_port_min, "First port for masquerading") = 32768;
CONFIG(__u16, snat_port_max, "Last port for masquerading") = 65535;
CONFIG(__u32, ct_tcp_timeout, "Seconds an idle TCP connection is remembered") = 8000;
CONFIG(__u32, ct_syn_timeout, "Seconds a TCP connection without an answer is remembered") = 60;
CONFIG(__u32, ct_close_timeout, "Seconds a closing TCP connection is remembered") = 10;
CONFIG(__u32, ct_any_timeout, "Seconds an idle flow of another protocol is remembered") = 60;
CONFIG(__u32, capture_bytes, "Bytes of the packet in an event") = 128;

/* IPv6. While it is off nothing of it is in the programs that run, and pods' packets are of an unknown protocol. */
CONFIG(__u8, ipv6, "IPv6 is on");
CONFIG(struct cidr6, pod_cidrs6, "IPv6 PodCIDRs of this node")[MAX_POD_CIDRS];
CONFIG(__u8, pod_cidr6_count, "How many of config_pod_cidrs6 count");
CONFIG(struct ipv6_address, device_ipv6, "IPv6 address that each of config_devices masquerades to; zero: none")[MAX_DEVICES];
CONFIG(__u8, masquerade6, "Masquerade IPv6 pod traffic that leaves through an uplink");
CONFIG(struct cidr6, snat_exclusions6, "IPv6 destinations that are never masqueraded")[MAX_POD_CIDRS];
CONFIG(__u8, snat_exclusion6_count, "How many of config_snat_exclusions6 count");
CONFIG(__u32, world_ipv4, "Identity of IPv4 addresses nobody knows") = WORLD_ID;
CONFIG(__u32, world_ipv6, "Identity of IPv6 addresses nobody knows") = WORLD_ID;

/* Indexes of cilium_runtime_config. Twin: agent/maps/runtime-config.ts. */
enum runtime_config {
	RUNTIME_MONITOR_AGGREGATION = 0,
	RUNTIME_POLICY_VERDICT_OFF = 1,
	RUNTIME_AGENT_ALIVE = 2,
};

#define AGGREGATE_NONE 0
#define AGGREGATE_LOW 1
#define AGGREGATE_MEDIUM 3

static __always_inline bool in_cidrs(__be32 addr, const volatile struct cidr4 *cidrs, __u8 count)
{
#pragma unroll
	for (int i = 0; i < MAX_POD_CIDRS; i++)
		if (i < count && (addr & cidrs[i].mask) == cidrs[i].addr)
			return true;
	return false;
}

static __always_inline bool in_pod_cidr4(__be32 addr)
{
	return in_cidrs(addr, config_pod_cidrs, config_pod_cidr_count);
}

/* The address that packets leaving through `ifindex` are masqueraded to; 0 = not an uplink of ours. */
static __always_inline __be32 device_ipv4(__u32 ifindex)
{
#pragma unroll
	for (int i = 0; i < MAX_DEVICES; i++)
		if (i < config_device_count && config_devices[i].ifindex == ifindex)
			return config_devices[i].ipv4;
	return 0;
}

static __always_inline bool is_device_address4(__be32 addr)
{
#pragma unroll
	for (int i = 0; i < MAX_DEVICES; i++)
		if (i < config_device_count && config_devices[i].ipv4 == addr)
			return true;
	return false;
}
