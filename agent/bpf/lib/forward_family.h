/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

#undef SOURCE_FILE
#define SOURCE_FILE FILE_FORWARD_FAMILY
/* What a pod may send, on its way, in one family. Included by st_endpoint.bpf.c. */

/* Beyond this node: through the tunnel where the ipcache says so, else by the routes. */
static __always_inline int FN(to_remote)(struct __sk_buff *skb, struct packet *p, tuple_t *tuple, const struct ipcache_value *remote)
{
	if (config_tunnel_mode && remote && remote->flags & IPCACHE_HAS_TUNNEL_ENDPOINT &&
	    !(remote->flags & IPCACHE_SKIP_TUNNEL))
		return encap_and_redirect(skb, p, remote->tunnel_endpoint[0]);
	/* Nobody here has it: routing it would only come back. */
	if (FN(in_pod_cidr)(ADDRESS(tuple->daddr)))
		return DROP(p, DROP_UNROUTABLE);
#if FAMILY == 6
	/* Of the pod's link, on which there is nobody but the pod. */
	if (is_link_local6(&tuple->daddr))
		return DROP(p, DROP_UNROUTABLE);
#endif
	if (p->ct == CT_REPLY || p->ct == CT_RELATED)
		skb->mark = MARK_MAGIC_SNAT_DONE; /* an answer keeps its source */
	return FN(fib_redirect)(skb, p, tuple);
}

static __always_inline int FN(forward)(struct __sk_buff *skb, struct packet *p, tuple_t *tuple)
{
	const struct ipcache_value *remote = NULL;
	const struct endpoint_info *local;
	int ret = FN(ct_lookup)(skb, p, tuple);

	if (ret < 0)
		return ret;
	ct_count(skb, p);
	if (!config_tunnel_mode && ct_knows_remote(p, &p->dst_id))
		return FN(to_remote)(skb, p, tuple, NULL);
	local = FN(lookup_endpoint)(ADDRESS(tuple->daddr));
	/* The trie is walked only by packets whose verdict or tunnel needs it. */
	if (!local && (config_tunnel_mode || p->ct == CT_NEW || p->ct == CT_ESTABLISHED))
		remote = FN(lookup_ipcache)(ADDRESS(tuple->daddr));
	p->dst_id = local ? local->sec_id : identity_of(remote);
	ret = FN(admit)(skb, p, tuple, local ? p->dst_id : p->dst_id | PEER_REMOTE);
	if (ret < 0)
		return ret;
	if (!local)
		return FN(to_remote)(skb, p, tuple, remote);
	if (local->flags & ENDPOINT_HOST)
		return to_stack(skb, p, TRACE_TO_HOST);
	count_forwarded(skb, METRIC_EGRESS);
	return FN(deliver)(skb, p, tuple, local, DELIVER_FORWARD);
}
