/* SPDX-License-Identifier: Apache-2.0 */
/* That every program of the network stack which ran at the time of a call is over: shown by running on every CPU. The proof: docs/adr/0004. */
#include "addon.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/utsname.h>

#define STACK_BYTES (64 << 10)
#define LOOKS 4000

static void sched_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Where softirqs can be preempted, a CPU that runs a thread may be in the middle of a program. */
static bool can_preempt_programs(void)
{
	static enum {UNKNOWN, NO, YES} known;
	struct utsname kernel;

	if (known == UNKNOWN)
		known = uname(&kernel) || strstr(kernel.version, "PREEMPT_RT") ? YES : NO;
	return known == YES;
}

/* Of "0-3,8"; -E2BIG when there are more than `most`. */
static int read_online(cpu_set_t *online, uint32_t most)
{
	int fd = open("/sys/devices/system/cpu/online", O_RDONLY | O_CLOEXEC);
	char text[4096], *at = text;
	unsigned long first, last;
	ssize_t length;

	if (fd < 0)
		return -errno;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (length <= 0)
		return -EIO;
	text[length] = '\0';
	CPU_ZERO(online);
	do {
		first = last = strtoul(at, &at, 10);
		if (*at == '-')
			last = strtoul(at + 1, &at, 10);
		if (last >= CPU_SETSIZE)
			return -E2BIG;
		for (; first <= last; first++)
			CPU_SET(first, online);
	} while (*at++ == ',');
	return (uint32_t)CPU_COUNT(online) > most ? -E2BIG : 0;
}

static cpu_set_t only_cpu(int cpu)
{
	cpu_set_t only;

	CPU_ZERO(&only);
	CPU_SET(cpu, &only);
	return only;
}

/* -EINVAL: it is offline by now, or not in the process's cpuset. */
static int visit(int cpu)
{
	cpu_set_t only = only_cpu(cpu);

	/* The one that who asked has chosen: nothing moves. */
	if (sched_getcpu() == cpu)
		return 0;
	if (sched_setaffinity(0, sizeof(only), &only))
		return -errno;
	return sched_getcpu() == cpu ? 0 : -EAGAIN;
}

/*
 * A thread of its own, made at the first visit: its affinity is nobody else's, its priority lets it in on a busy CPU at
 * once, and who asked keeps its place on its own. Asked and answered by one thread, the event loop's.
 */
static struct {
	bool is_made;
	pthread_t thread;
	sem_t asked, answered;
	/* Those that are still to be visited. */
	cpu_set_t others;
	int result;
} visitor;

static void *visitor_run(void *data)
{
	struct sched_param least = {.sched_priority = sched_get_priority_min(SCHED_FIFO)};
	int refused = sched_setscheduler(0, SCHED_FIFO, &least) ? -errno : 0;
	int cpu;

	for (;;) {
		while (sem_wait(&visitor.asked))
			;
		/* Without the priority each busy CPU could keep it waiting for milliseconds. */
		visitor.result = refused;
		for (cpu = 0; cpu < CPU_SETSIZE && visitor.result == 0; cpu++)
			if (CPU_ISSET(cpu, &visitor.others))
				visitor.result = visit(cpu);
		sem_post(&visitor.answered);
	}
	return data;
}

static int visitor_make(void)
{
	sigset_t all, before;
	pthread_attr_t attributes;
	int error;

	if (visitor.is_made)
		return 0;
	sem_init(&visitor.asked, 0, 0);
	sem_init(&visitor.answered, 0, 0);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	error = pthread_create(&visitor.thread, &attributes, visitor_run, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	if (error == 0)
		pthread_setname_np(visitor.thread, "cpus-visit");
	visitor.is_made = error == 0;
	return -error;
}

/*
 * Who asks is on a CPU itself, after all it has changed. The visitor sleeps: it wakes up on the first of the others, and need
 * not be moved away from anywhere.
 */
static int begin_elsewhere(void)
{
	int own = sched_getcpu(), cpu;
	cpu_set_t only;

	if (own < 0)
		return -errno;
	CPU_CLR(own, &visitor.others);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &visitor.others))
			break;
	if (cpu == CPU_SETSIZE)
		return 0;
	only = only_cpu(cpu);
	return -pthread_setaffinity_np(visitor.thread, sizeof(only), &only);
}

/* Most visits take less than giving up the CPU and getting it back does. */
static int visit_all(void)
{
	int looks, error = begin_elsewhere();

	if (error)
		return error;
	sem_post(&visitor.asked);
	for (looks = 0; looks < LOOKS; looks++) {
		if (sem_trywait(&visitor.answered) == 0)
			return visitor.result;
		sched_pause();
	}
	while (sem_wait(&visitor.answered))
		;
	return visitor.result;
}

/* cpusVisit(most): 0 = threads of ours have run on every CPU that was online, or -errno; -E2BIG when there are more than `most` */
static napi_value cpus_visit(napi_env env, napi_callback_info info)
{
	struct args a;
	uint32_t most;
	int result;

	if (!args_read(env, info, 1, &a) || !arg_u32(&a, 0, "most", &most))
		return NULL;
	result = can_preempt_programs() ? -EOPNOTSUPP : read_online(&visitor.others, most);
	if (result == 0)
		result = visitor_make();
	return make_number(env, result ? result : visit_all());
}

const struct export cpus_exports[] = {
	{"cpusVisit", cpus_visit},
	{NULL, NULL},
};
