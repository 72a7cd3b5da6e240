// dcmjs-dimse as an SCU over mutual TLS: one association, for a JSON object that comes on standard input.
//
// In it are `host`, `port`, `calling`, `called`; `key`, `certificate` and `authority` as PEM; `contexts` to propose beside
// those that dcmjs-dimse proposes by itself, as pairs of SOP class and transfer syntax, with us as SCP; and `operations`.
// Each of them has `do`:
//   echo
//   store  `path` of a DICOM file
//   find   `level` study, series or image, and `keys` by keyword
//   get    `study`; what comes goes to `directory`, as the bytes of the data set in a file named by transfer syntax and UID
//   move   `study` and `destination`
// One JSON object is printed: `accepted` contexts, and `answers` with the final `status` of each operation, the `matches` of
// a query, the numbers of `completed` and `failed` sub-operations of a retrieval.
import { readFileSync, writeFileSync } from 'node:fs';

import dimse from 'dcmjs-dimse';

const { Client, association, constants, log, requests, responses } = dimse;
const { CEchoRequest, CFindRequest, CGetRequest, CMoveRequest, CStoreRequest } = requests;
const asked = JSON.parse(readFileSync(0, 'utf8'));
log.setLevel('silent');

const finding = {
  study: CFindRequest.createStudyFindRequest, series: CFindRequest.createSeriesFindRequest,
  image: CFindRequest.createImageFindRequest,
};
const making = {
  echo: () => new CEchoRequest(),
  store: ({ path }) => new CStoreRequest(path),
  find: ({ level, keys }) => finding[level](keys),
  get: ({ study }) => CGetRequest.createStudyGetRequest(study),
  move: ({ study, destination }) => CMoveRequest.createStudyMoveRequest(destination, study),
};

const client = new Client();
const accepted = [];
const answers = asked.operations.map((operation) => {
  const answer = { matches: [] };
  const request = making[operation.do](operation);
  request.on('response', (response) => {
    answer.status = response.getStatus();
    if (response.hasDataset() && answer.status === constants.Status.Pending) {
      answer.matches.push(response.getDataset().getElements());
    }
    if (response.getCompleted) {
      answer.completed = response.getCompleted();
      answer.failed = response.getFailures();
    }
  });
  client.addRequest(request);
  return answer;
});
for (const [sopClass, transferSyntax] of asked.contexts) {
  const context = new association.PresentationContext(0, sopClass);
  context.addTransferSyntaxUid(transferSyntax);
  client.addAdditionalPresentationContext(context, true);
}

client.on('cStoreRequest', (request, respond) => {
  const response = responses.CStoreResponse.fromRequest(request);
  response.setStatus(constants.Status.Success);
  respond(response);
});
client.on('associationAccepted', (agreed) => {
  for (const { context } of agreed.getPresentationContexts()) {
    if (context.getResult() === 0) accepted.push([context.getAbstractSyntaxUid(), context.getAcceptedTransferSyntaxUid()]);
  }
});
client.on('associationRejected', (rejection) => { throw new Error(`rejected: ${JSON.stringify(rejection)}`); });
client.on('networkError', (error) => { throw error; });
client.on('closed', () => console.log(JSON.stringify({ accepted, answers })));

client.send(asked.host, asked.port, asked.calling, asked.called, {
  securityOptions: { key: asked.key, cert: asked.certificate, ca: asked.authority, rejectUnauthorized: true },
});
const request = client.network.sendAssociationRequest;
client.network.sendAssociationRequest = function (proposed) {
  const classes = new Set(asked.contexts.map(([sopClass]) => sopClass)); // it has the role for those alone that it knows
  for (const { context } of proposed.getPresentationContexts()) {
    if (classes.has(context.getAbstractSyntaxUid())) context.setProviderRole(true);
  }
  request.call(this, proposed);
};
client.network.socket.setNoDelay(true); // or each sub-operation takes 40 ms
// The bytes as they came; of what it has made of them it would only give what it writes anew.
const { directory } = asked.operations.find((operation) => operation.directory) ?? {};
const decode = client.network.createDatasetFromStoreWritableStream;
client.network.createDatasetFromStoreWritableStream = function (stream, context, done) {
  const data = Buffer.from(stream.toBuffer());
  writeFileSync(`${directory}/${context.getAcceptedTransferSyntaxUid()}-${this.dimse.getAffectedSopInstanceUid()}`, data);
  decode.call(this, stream, context, done);
};
