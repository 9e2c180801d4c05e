// SPDX-License-Identifier: Apache-2.0
// attach PLUGIN CONFIG AT_ONCE: CNI ADD for every line `CONTAINER NETNS NAMESPACE NAME` of stdin, so many at a time, and how long each took from
// fork to exit. A container runtime's fork is cheap; that of a large Node process is not, and would be counted.
#define _GNU_SOURCE
#include "lab-helper.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOBS_MAX 1024

struct job {
	char container[128], netns[256], namespace[64], name[128];
	pid_t pid;
	double started;
};

static void start(struct job *job, char *plugin, const char *config)
{
	char id[160], netns[280], args[512];
	char *argv[] = {plugin, NULL};
	char *env[] = {"CNI_COMMAND=ADD", "CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin", id, netns, args, NULL};
	posix_spawn_file_actions_t files;

	snprintf(id, sizeof(id), "CNI_CONTAINERID=%s", job->container);
	snprintf(netns, sizeof(netns), "CNI_NETNS=%s", job->netns);
	snprintf(args, sizeof(args), "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s", job->namespace, job->name);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, config, O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	job->started = now_ms();
	if (posix_spawn(&job->pid, plugin, &files, NULL, argv, env) != 0)
		fail(plugin);
	posix_spawn_file_actions_destroy(&files);
}

static void finish_one(struct job *jobs, int count)
{
	int status;
	pid_t pid = wait(&status);
	double now = now_ms();

	for (int i = 0; i < count; i++)
		if (jobs[i].pid == pid)
			printf("{\"container\":\"%s\",\"ms\":%.3f,\"code\":%d}\n", jobs[i].container, now - jobs[i].started, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

int command_attach(int argc, char **argv)
{
	static struct job jobs[JOBS_MAX];
	int count = 0, running = 0;

	if (argc != 3)
		usage("attach PLUGIN CONFIG AT_ONCE");
	while (count < JOBS_MAX && scanf("%127s %255s %63s %127s", jobs[count].container, jobs[count].netns, jobs[count].namespace, jobs[count].name) == 4)
		count++;
	for (int i = 0; i < count; i++) {
		if (running == atoi(argv[2])) {
			finish_one(jobs, i);
			running--;
		}
		start(&jobs[i], argv[0], argv[1]);
		running++;
	}
	while (running-- > 0)
		finish_one(jobs, count);
	return 0;
}
