/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

#undef SOURCE_FILE
#define SOURCE_FILE FILE_HOST_FAMILY
/* Uplinks and this node's own stack, in one family. Included by st_host.bpf.c. */

/* To a pod from the wire. Nobody out there is this node: its address as a source is a forgery. */
static __always_inline int FN(deliver_from_wire)(struct __sk_buff *skb, struct packet *p, tuple_t *tuple,
						 const struct endpoint_info *local)
{
	int ret = FN(ct_lookup)(skb, p, tuple);

	if (config_tunnel_mode || !ct_knows_remote(p, &p->src_id))
		p->src_id = identity_of(FN(lookup_ipcache)(ADDRESS(tuple->saddr)));
	if (p->src_id == HOST_ID || FN(is_device_address)(ADDRESS(tuple->saddr)))
		return DROP(p, DROP_INVALID_SIP);
#if FAMILY == 6
	if (is_no_source6(&tuple->saddr))
		return DROP(p, DROP_INVALID_SIP);
#endif
	if (ret < 0)
		return ret;
	trace_from(skb, p, TRACE_FROM_NETWORK);
	return FN(deliver)(skb, p, tuple, local, DELIVER_FROM_WIRE);
}

/* From the wire back to the wire: see drop_unserved. */
static FAMILY_CALL int FN(drop_announced)(struct __sk_buff *skb, struct packet *p)
{
	ipmasq_key_t key = {.prefixlen = 8 * sizeof(key.addr)};
	PARSE_INTO(tuple);

	if (PARSE_HEADER(tuple) < 0)
		return TC_ACT_OK;
	__builtin_memcpy(&key.addr, &tuple->daddr, sizeof(key.addr));
	if (!bpf_map_lookup_elem(&ANNOUNCED_MAP, &key))
		return TC_ACT_OK;
	p->src_id = identity_of(FN(lookup_ipcache)(ADDRESS(tuple->saddr)));
	PARSE_L4(tuple); /* for the event: without ports it is dropped as well */
	return DROP(p, DROP_NO_SERVICE);
}

static __always_inline __u32 FN(identity_from_host)(address_t source)
{
	const struct endpoint_info *local = FN(lookup_endpoint)(source);

	if (local)
		return local->flags & ENDPOINT_HOST ? HOST_ID : local->sec_id;
	return FN(is_device_address)(source) ? HOST_ID : identity_of(FN(lookup_ipcache)(source));
}

/* What the stack routes to cilium_host: to pods of this node, and in tunnel mode to those of others. */
static FAMILY_CALL int FN(from_host)(struct __sk_buff *skb, struct packet *p)
{
	const struct endpoint_info *local;
	const struct ipcache_value *remote;
	PARSE_INTO(tuple);
	int ret = PARSE_HEADER(tuple);

	/* The stack's own messages to its link; of IPv6 behind extension headers too. */
	if (FN(is_of_link)(ADDRESS(tuple->daddr)))
		return TC_ACT_OK;
	if (ret < 0)
		return ret;
	p->src_id = FN(identity_from_host)(ADDRESS(tuple->saddr));
	local = FN(lookup_endpoint)(ADDRESS(tuple->daddr));
	if (local) {
		if (local->flags & ENDPOINT_HOST)
			return TC_ACT_OK;
		ret = PARSE_L4(tuple);
		if (ret < 0)
			return ret;
		trace_from(skb, p, TRACE_FROM_HOST);
		return FN(deliver)(skb, p, tuple, local, DELIVER_FROM_HOST);
	}
	if (FN(in_pod_cidr)(ADDRESS(tuple->daddr)))
		return DROP(p, DROP_UNROUTABLE);
	remote = config_tunnel_mode ? FN(lookup_ipcache)(ADDRESS(tuple->daddr)) : NULL;
	return host_to_remote(skb, p, remote);
}
