// SPDX-License-Identifier: Apache-2.0
/* The consumer's side of a BPF ring buffer: mapped pages in, whole records out. Waiting for it is watch.c's. */
#include "addon.h"

#include <linux/bpf.h>
#include <sys/mman.h>

struct ring {
	unsigned long *consumer; /* NULL once closed */
	unsigned long *producer;
	uint8_t *data;
	size_t size, page;
};

static const napi_type_tag ring_tag = {0x72696e6700000001, 0x7374656e746f7202};

static void ring_unmap(struct ring *ring)
{
	if (!ring->consumer)
		return;
	munmap(ring->consumer, ring->page);
	munmap(ring->producer, ring->page + 2 * ring->size);
	ring->consumer = NULL;
}

static void ring_finalize(napi_env env, void *data, void *hint)
{
	(void)env;
	(void)hint;
	ring_unmap(data);
	free(data);
}

/* ringOpen(fd, size): `size` is the map's max_entries; a ring, or -errno */
static napi_value ring_open(napi_env env, napi_callback_info info)
{
	struct ring *ring;
	struct args a;
	uint32_t size;
	int fd, error;
	void *pages;

	if (!args_read(env, info, 2, &a) || !arg_int(&a, 0, "fd", &fd) || !arg_u32(&a, 1, "size", &size))
		return NULL;
	ring = calloc(1, sizeof(*ring));
	if (!ring)
		abort();
	ring->page = sysconf(_SC_PAGESIZE);
	ring->size = size;
	pages = mmap(NULL, ring->page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (pages == MAP_FAILED)
		goto failed;
	ring->consumer = pages;
	/* The data area is mapped twice in a row, so that a record never wraps. */
	pages = mmap(NULL, ring->page + 2 * ring->size, PROT_READ, MAP_SHARED, fd, ring->page);
	if (pages == MAP_FAILED) {
		error = errno;
		munmap(ring->consumer, ring->page);
		errno = error;
		goto failed;
	}
	ring->producer = pages;
	ring->data = (uint8_t *)pages + ring->page;
	return make_opaque(env, &ring_tag, ring, ring_finalize);
failed:
	error = -errno;
	free(ring);
	return make_number(env, error);
}

static struct ring *arg_ring(struct args *args)
{
	return arg_opaque(args, 0, "ring", &ring_tag);
}

/* ringAvailable(ring): bytes between consumer and producer: enough room for a drain */
static napi_value ring_available(napi_env env, napi_callback_info info)
{
	struct ring *ring;
	struct args a;

	if (!args_read(env, info, 1, &a) || !(ring = arg_ring(&a)))
		return NULL;
	if (!ring->consumer)
		return make_number(env, -EBADF);
	return make_number(env, __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE) - *ring->consumer);
}

static size_t round_up8(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

/* ringDrain(ring, out): bytes filled: per record a u32 length, 4 bytes of zero, the record padded to 8 */
static napi_value ring_drain(napi_env env, napi_callback_info info)
{
	unsigned long consumer, producer;
	struct ring *ring;
	struct bytes out;
	size_t filled = 0;
	struct args a;

	if (!args_read(env, info, 2, &a) || !(ring = arg_ring(&a)) || !arg_bytes(&a, 1, "out", 8, &out))
		return NULL;
	if (!ring->consumer)
		return make_number(env, -EBADF);
	consumer = *ring->consumer;
	producer = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
	while (consumer < producer) {
		uint8_t *record = ring->data + (consumer & (ring->size - 1));
		uint32_t header = __atomic_load_n((uint32_t *)record, __ATOMIC_ACQUIRE);
		uint32_t length = header & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
		size_t space = round_up8((size_t)length + BPF_RINGBUF_HDR_SZ);

		if (header & BPF_RINGBUF_BUSY_BIT)
			break;
		if (!(header & BPF_RINGBUF_DISCARD_BIT)) {
			if (filled + space > out.length)
				break;
			memset(out.data + filled, 0, BPF_RINGBUF_HDR_SZ);
			memcpy(out.data + filled, &length, sizeof(length));
			memcpy(out.data + filled + BPF_RINGBUF_HDR_SZ, record + BPF_RINGBUF_HDR_SZ, length);
			filled += space;
		}
		consumer += space;
		__atomic_store_n(ring->consumer, consumer, __ATOMIC_RELEASE);
	}
	return make_number(env, filled);
}

/* ringClose(ring): -EBADF the second time */
static napi_value ring_close(napi_env env, napi_callback_info info)
{
	struct ring *ring;
	struct args a;

	if (!args_read(env, info, 1, &a) || !(ring = arg_ring(&a)))
		return NULL;
	if (!ring->consumer)
		return make_number(env, -EBADF);
	ring_unmap(ring);
	return make_number(env, 0);
}

const struct export ring_exports[] = {
	{"ringOpen", ring_open},
	{"ringAvailable", ring_available},
	{"ringDrain", ring_drain},
	{"ringClose", ring_close},
	{NULL, NULL},
};
