/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

#undef SOURCE_FILE
#define SOURCE_FILE FILE_NAT_FAMILY
/* Masquerading in one family: see nat.h. Included by nat4.h and nat6.h. */

static __always_inline bool FN(is_echo)(const struct packet *p)
{
	return p->tuple.nexthdr == PROTO_ICMP && (p->icmp_type == ECHO_REQUEST || p->icmp_type == ECHO_REPLY);
}

/* An echo has one identifier for both sides: it takes the place of the port of whoever is masqueraded. */
static __always_inline __be16 FN(echo_id)(const struct packet *p)
{
	return p->icmp_type == ECHO_REPLY ? p->tuple.sport : p->tuple.dport;
}

static __always_inline bool FN(can_nat)(const struct packet *p)
{
	return has_nat_ports(p->tuple.nexthdr) || FN(is_echo)(p);
}

/* Key of a packet that leaves. Echoes: identifier as source port. */
static __always_inline void FN(nat_key_out)(const struct packet *p, const tuple_t *tuple, tuple_t *key)
{
	COPY_TUPLE(*key, *tuple);
	key->flags = TUPLE_OUT;
	if (key->nexthdr == PROTO_ICMP) {
		key->sport = FN(echo_id)(p);
		key->dport = 0;
	}
}

/* Key of the answers to `out` once it leaves as `mapping` says. */
static __always_inline void FN(nat_key_in)(const tuple_t *out, const nat_entry_t *mapping, tuple_t *in)
{
	COPY_ADDRESS(in->daddr, mapping->to_addr);
	COPY_ADDRESS(in->saddr, out->daddr);
	in->dport = mapping->to_port;
	in->sport = out->dport;
	in->nexthdr = out->nexthdr;
	in->flags = TUPLE_IN;
}

/* Checksums before bytes: each helper works on what is in the packet then. */
static __noinline __maybe_unused int FN(nat_rewrite)(struct __sk_buff *skb, struct packet *p, rewrite_t *r)
{
	__u8 protocol = p->tuple.nexthdr;
	__u64 udp = protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	int csum_off = p->l4_off + l4_csum_off(protocol);
	bool readdress = !SAME_ADDRESS(r->old_addr, r->new_addr);

	if (!(p->flags & PACKET_LATER_FRAGMENT)) {
		if (readdress && FN(csum_address)(skb, csum_off, r, protocol, udp) < 0)
			return DROP(p, DROP_CSUM_L4);
		if (r->old_port != r->new_port &&
		    (bpf_l4_csum_replace(skb, csum_off, r->old_port, r->new_port, 2 | udp) < 0 ||
		     bpf_skb_store_bytes(skb, p->l4_off + r->port_off, &r->new_port, 2, 0) < 0))
			return DROP(p, DROP_CSUM_L4);
	}
	return readdress ? FN(store_address)(skb, p, r) : 0;
}

static __always_inline void FN(count_retries)(__u32 retries)
{
	__u32 *count = bpf_map_lookup_elem(&SNAT_RETRIES_MAP, &retries);

	if (count)
		(*count)++;
}

static __always_inline void FN(nat_back)(const tuple_t *out, const nat_entry_t *mapping, nat_entry_t *back)
{
	back->created = mapping->created;
	COPY_ADDRESS(back->to_addr, out->saddr);
	back->to_port = out->sport;
}

/*
 * A port for a new flow: its own if that lies in the range and is free towards this peer, else a random one and those
 * after it. The answers' entry goes in first and only where none is, so that two processors never share a port.
 */
static __noinline __maybe_unused int FN(nat_allocate)(struct packet *p, tuple_t *out, nat_entry_t *mapping)
{
	__u32 first = config_snat_port_min, count = config_snat_port_max - config_snat_port_min + 1;
	nat_entry_t back = {};
	STACK_TUPLE(in);
	__u32 port = bpf_ntohs(out->sport);

	FN(nat_back)(out, mapping, &back);
	if (!in_snat_range(out->sport))
		port = first + bpf_get_prandom_u32() % count;
	for (__u32 retries = 0; retries < SNAT_RETRIES; retries++) {
		mapping->to_port = bpf_htons(port);
		FN(nat_key_in)(out, mapping, &in);
		if (bpf_map_update_elem(&SNAT_MAP, &in, &back, BPF_NOEXIST) == 0) {
			FN(count_retries)(retries);
			if (bpf_map_update_elem(&SNAT_MAP, out, mapping, BPF_ANY) == 0)
				return 0;
			bpf_map_delete_elem(&SNAT_MAP, &in);
			return DROP(p, DROP_NAT_NO_MAPPING);
		}
		if (retries == 0)
			port = first + bpf_get_prandom_u32() % count;
		else
			port = port >= config_snat_port_max ? first : port + 1;
	}
	FN(count_retries)(SNAT_RETRIES);
	return DROP(p, DROP_NAT_NO_MAPPING);
}

/* The answers' entry of a known flow is still there, or could be put back. */
static __always_inline bool FN(nat_restore_in)(tuple_t *out, const nat_entry_t *mapping, tuple_t *in)
{
	nat_entry_t back = {}, *known;

	FN(nat_key_in)(out, mapping, in);
	known = bpf_map_lookup_elem(&SNAT_MAP, in);
	if (known)
		return SAME_ADDRESS(known->to_addr, out->saddr) && known->to_port == out->sport;
	FN(nat_back)(out, mapping, &back);
	return bpf_map_update_elem(&SNAT_MAP, in, &back, BPF_NOEXIST) == 0;
}

/* 1: `mapping` is that of a known flow. 0: there is none with the address that it has; one with another is forgotten. */
static __noinline __maybe_unused int FN(nat_known)(tuple_t *out, nat_entry_t *mapping)
{
	nat_entry_t *known = bpf_map_lookup_elem(&SNAT_MAP, out);
	STACK_TUPLE(in);

	if (!known)
		return 0;
	if (SAME_ADDRESS(known->to_addr, mapping->to_addr)) {
		*mapping = *known;
		if (FN(nat_restore_in)(out, mapping, &in))
			return 1; /* else somebody else has the port */
	} else {
		/* The uplink's address changed: start again. */
		FN(nat_key_in)(out, known, &in);
		bpf_map_delete_elem(&SNAT_MAP, &in);
	}
	bpf_map_delete_elem(&SNAT_MAP, out);
	return 0;
}

static __noinline __maybe_unused int FN(nat_source)(struct __sk_buff *skb, struct packet *p, const tuple_t *out, const nat_entry_t *mapping)
{
	rewrite_t r = {.addr_off = HEADER_OFF(saddr)};

	COPY_ADDRESS(r.old_addr, out->saddr);
	COPY_ADDRESS(r.new_addr, mapping->to_addr);
	r.old_port = out->sport;
	r.new_port = mapping->to_port;
	r.port_off = out->nexthdr == PROTO_ICMP ? ICMP_ID_OFF : 0;
	return FN(nat_rewrite)(skb, p, &r);
}

/* A packet that leaves through an uplink and is to have `addr` as its source; none where the uplink has no address. */
static __noinline __maybe_unused int FN(nat_out)(struct __sk_buff *skb, struct packet *p, tuple_t *tuple, address_t addr)
{
	nat_entry_t mapping = {};
	STACK_TUPLE(out);
	int ret;

	if (!FN(can_nat)(p))
		return DROP(p, DROP_NAT_UNSUPP_PROTO);
	if (IS_NO_ADDRESS(addr))
		return DROP(p, DROP_NAT_NO_MAPPING);
	FN(nat_key_out)(p, tuple, &out);
	COPY_ADDRESS(mapping.to_addr, VALUE(addr));
	if (!FN(nat_known)(&out, &mapping)) {
		mapping.created = now_ns();
		ret = FN(nat_allocate)(p, &out, &mapping);
		if (ret < 0)
			return ret;
	}
	return FN(nat_source)(skb, p, &out, &mapping);
}

/* A known flow's entry for packets that leave, put back when it is gone. */
static __noinline __maybe_unused int FN(nat_restore_out)(const tuple_t *in, const nat_entry_t *back)
{
	nat_entry_t mapping = {.created = back->created, .to_port = in->dport};
	STACK_TUPLE(out);

	COPY_ADDRESS(mapping.to_addr, in->daddr);
	COPY_ADDRESS(out.daddr, in->saddr);
	COPY_ADDRESS(out.saddr, back->to_addr);
	out.dport = in->sport;
	out.sport = back->to_port;
	out.nexthdr = in->nexthdr;
	out.flags = TUPLE_OUT;
	if (!bpf_map_lookup_elem(&SNAT_MAP, &out))
		bpf_map_update_elem(&SNAT_MAP, &out, &mapping, BPF_NOEXIST);
	return 0;
}

/* Key of the flow that a packet to an uplink's address may answer. */
static __always_inline bool FN(nat_answered)(const struct packet *p, const tuple_t *tuple, tuple_t *in)
{
	COPY_TUPLE(*in, *tuple);
	in->flags = TUPLE_IN;
	if (tuple->nexthdr != PROTO_ICMP)
		return has_nat_ports(tuple->nexthdr) && in_snat_range(in->dport);
	in->dport = FN(echo_id)(p);
	in->sport = 0;
	return p->icmp_type == ECHO_REPLY && in_snat_range(in->dport);
}

/*
 * A packet to an uplink's address: 1 and a new destination in packet, `p` and `tuple` when it answers a masqueraded
 * flow, 0 when it is the node's own.
 */
static __noinline __maybe_unused int FN(nat_in)(struct __sk_buff *skb, struct packet *p, tuple_t *tuple)
{
	rewrite_t r = {.addr_off = HEADER_OFF(daddr)};
	nat_entry_t *known, back;
	STACK_TUPLE(in);
	int ret;

	if (!FN(nat_answered)(p, tuple, &in))
		return 0;
	known = bpf_map_lookup_elem(&SNAT_MAP, &in);
	if (!known)
		return 0;
	back = *known;
	FN(nat_restore_out)(&in, &back);
	if (SAME_ADDRESS(back.to_addr, in.daddr) && back.to_port == in.dport)
		return 0; /* the node's own connection, port unchanged */
	COPY_ADDRESS(r.old_addr, in.daddr);
	COPY_ADDRESS(r.new_addr, back.to_addr);
	r.old_port = in.dport;
	r.new_port = back.to_port;
	r.port_off = in.nexthdr == PROTO_ICMP ? ICMP_ID_OFF : 2;
	ret = FN(nat_rewrite)(skb, p, &r);
	if (ret < 0)
		return ret;
	COPY_ADDRESS(tuple->daddr, back.to_addr);
	if (in.nexthdr == PROTO_ICMP)
		p->tuple.sport = tuple->sport = back.to_port; /* of a reply, the identifier */
	else
		p->tuple.dport = tuple->dport = back.to_port;
	return 1;
}
