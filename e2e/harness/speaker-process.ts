// The BGP half of an agent as a process of its own, so that its memory can be watched and it can be killed. Usage: speaker-process.js DIRECTORY SPEAKER_FILE COMMAND…

import {readFileSync} from 'node:fs';
import {SpeakerSession} from '../../agent/apply/speaker.js';
import {SpeakerEvents} from '../../agent/watch/speaker-events.js';
import type {Speaker} from '../../lib/domain/bgp.js';
import {realClock} from '../../lib/run/clock.js';
import {silentLog} from '../../lib/run/log.js';

const [directory = '', file = '', ...command] = process.argv.slice(2);
const session = new SpeakerSession({directory, command}, {clock: realClock, log: silentLog});
const events = new SpeakerEvents({source: session, clock: realClock, log: silentLog});
const never = new AbortController().signal;
const failures = await session.set(JSON.parse(readFileSync(file, 'utf8')) as Speaker);
process.stdout.write(`${JSON.stringify(failures)}\n`);
await Promise.all([session.supervise(never), events.run(never)]);
