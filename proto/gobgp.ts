// GoBGP's API as a typed service: the calls that the speaker makes. Its messages go no further than the speaker's adapter.

import {defineService, method} from '../lib/run/grpc.js';
import {api} from './gen/gobgp4.js';

export const goBgpService = defineService('api.GoBgpService', {
  StartBgp: method('unary', api.StartBgpRequest, api.StartBgpResponse),
  GetBgp: method('unary', api.GetBgpRequest, api.GetBgpResponse),
  WatchEvent: method('server-stream', api.WatchEventRequest, api.WatchEventResponse),
  AddPeer: method('unary', api.AddPeerRequest, api.AddPeerResponse),
  DeletePeer: method('unary', api.DeletePeerRequest, api.DeletePeerResponse),
  ListPeer: method('server-stream', api.ListPeerRequest, api.ListPeerResponse),
  UpdatePeer: method('unary', api.UpdatePeerRequest, api.UpdatePeerResponse),
  ResetPeer: method('unary', api.ResetPeerRequest, api.ResetPeerResponse),
  // Only `make bench` makes this call, to compare with: each one leaves an identifier in gobgpd that only DeletePath takes away.
  AddPath: method('unary', api.AddPathRequest, api.AddPathResponse),
  ListPath: method('server-stream', api.ListPathRequest, api.ListPathResponse),
  AddPathStream: method('client-stream', api.AddPathStreamRequest, api.AddPathStreamResponse),
  GetTable: method('unary', api.GetTableRequest, api.GetTableResponse),
  AddPolicy: method('unary', api.AddPolicyRequest, api.AddPolicyResponse),
  DeletePolicy: method('unary', api.DeletePolicyRequest, api.DeletePolicyResponse),
  ListPolicy: method('server-stream', api.ListPolicyRequest, api.ListPolicyResponse),
  AddDefinedSet: method('unary', api.AddDefinedSetRequest, api.AddDefinedSetResponse),
  DeleteDefinedSet: method('unary', api.DeleteDefinedSetRequest, api.DeleteDefinedSetResponse),
  ListDefinedSet: method('server-stream', api.ListDefinedSetRequest, api.ListDefinedSetResponse),
  SetPolicyAssignment: method('unary', api.SetPolicyAssignmentRequest, api.SetPolicyAssignmentResponse),
  SetLogLevel: method('unary', api.SetLogLevelRequest, api.SetLogLevelResponse),
  ListPolicyAssignment: method('server-stream', api.ListPolicyAssignmentRequest, api.ListPolicyAssignmentResponse),
});

export type GoBgpClient = ReturnType<typeof goBgpService.connect>;
