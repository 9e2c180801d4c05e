/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

#undef SOURCE_FILE
#define SOURCE_FILE FILE_MASQUERADE_FAMILY
/* Masquerading's exclusions in one family. Included by masquerade.h. */

static __always_inline bool FN(is_excluded)(address_t addr)
{
	ipmasq_key_t key = {.prefixlen = 8 * sizeof(key.addr)};

	__builtin_memcpy(&key.addr, &VALUE(addr), sizeof(key.addr));
	if (bpf_map_lookup_elem(&IPMASQ_MAP, &key))
		return true;
	return !config_masquerade_remote_nodes && is_node_by_route(FN(lookup_ipcache)(addr));
}

/* The node's own connections take part only where a pod's port could collide with theirs. */
static __always_inline int FN(masquerade_host)(struct __sk_buff *skb, struct packet *p, tuple_t *tuple, address_t addr)
{
	if (p->flags & PACKET_ICMP_ERROR || !FN(can_nat)(p))
		return TC_ACT_OK;
	if (!in_snat_range(tuple->nexthdr == PROTO_ICMP ? FN(echo_id)(p) : tuple->sport))
		return TC_ACT_OK;
	/* The tunnel is one of IPv4. */
	if (FAMILY == 4 && tuple->nexthdr == IPPROTO_UDP && tuple->dport == bpf_htons(config_tunnel_port))
		return TC_ACT_OK;
	p->src_id = HOST_ID;
	return FN(nat_out)(skb, p, tuple, addr);
}

static __always_inline int FN(masquerade_pod)(struct __sk_buff *skb, struct packet *p, tuple_t *tuple, address_t addr)
{
	int ret;

	if (FN(is_excluded)(ADDRESS(tuple->daddr)) || FN(ct_is_reply)(skb, p, tuple))
		return TC_ACT_OK;
	if (!(p->flags & PACKET_ICMP_ERROR))
		return FN(nat_out)(skb, p, tuple, addr);
	ret = FN(nat_icmp_error)(skb, p, tuple, false);
	if (ret < 0)
		return ret;
	/* A pod's address never leaves: an error about no flow of ours stays here. */
	return ret ? TC_ACT_OK : DROP(p, DROP_NAT_NO_MAPPING);
}

static FAMILY_CALL int FN(masquerade)(struct __sk_buff *skb, struct packet *p, address_t addr)
{
	const struct endpoint_info *source;
	PARSE_INTO(tuple);
	int ret = PARSE_HEADER(tuple);

	if (ret < 0)
		return TC_ACT_OK; /* made by this node's stack: not ours to judge */
	if (SAME_ADDRESS(tuple->saddr, VALUE(addr)))
		return PARSE_L4(tuple) < 0 ? TC_ACT_OK : FN(masquerade_host)(skb, p, tuple, addr);
	/* Most of what leaves goes to the cluster itself: known without a lookup, whoever sends it. */
	if (FN(is_never_masqueraded)(ADDRESS(tuple->daddr)))
		return TC_ACT_OK;
	source = FN(lookup_endpoint)(ADDRESS(tuple->saddr));
	if (!source || source->flags & ENDPOINT_HOST)
		return TC_ACT_OK;
	p->src_id = source->sec_id;
	p->endpoint_id = source->lxc_id;
	ret = PARSE_L4(tuple);
	return ret < 0 ? ret : FN(masquerade_pod)(skb, p, tuple, addr);
}
