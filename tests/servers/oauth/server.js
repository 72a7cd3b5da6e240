// A real authorization server (oidc-provider) on loopback, driven over standard input and output by oauth.py.
//
// Every line in is a JSON object, and is answered by one line out. The first has key, certificate and authority as PEM;
// its answer has the port. Those that follow have `do`:
//   rotate   new signing keys; those of before stay in the key set until the next rotation
//   fault    the next `times` requests for `path` wait `delay` ms; with `status` they get `headers` and `body`
//   heal     no more faults
//   counts   how often each path was asked for since the last time
// When its input ends, so does the server: whoever started it is gone.
//
// Tokens are for the one `resource` that is asked for. Grants: client_credentials, and `urn:dimsetls:user`, which gives a
// token of the user named in `username` and an ID token with it, as after a login.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import https from 'node:https';
import readline from 'node:readline';

import Provider, { errors } from 'oidc-provider';

const scopes = ['openid', 'dicom.query', 'dicom.store'];
const signed = (alg) => ({ accessTokenFormat: 'jwt', jwt: { sign: { alg } } });
const resources = {
  'urn:dimsetls:es256': signed('ES256'),
  'urn:dimsetls:rs256': signed('RS256'),
  'urn:dimsetls:brief': { ...signed('ES256'), accessTokenTTL: 1 },
  'urn:dimsetls:opaque': { accessTokenFormat: 'opaque' },
  'urn:dimsetls:brief-opaque': { accessTokenFormat: 'opaque', accessTokenTTL: 5 },
};
const users = {
  alice: { groups: ['radiology'], roles: ['technician'] },
  bob: { groups: ['cardiology'], extensions: { ihe_iua: { subject_role: [{ system: 'urn:oid:2.16.840.1.113883.6.96', code: '46255001' }] } } },
};
const userGrant = 'urn:dimsetls:user';
const common = {
  redirect_uris: [], response_types: [], grant_types: ['client_credentials', userGrant], scope: scopes.join(' '),
  id_token_signed_response_alg: 'ES256',
};
const clients = [
  { ...common, client_id: 'modality', client_secret: 'modality:secret+1', token_endpoint_auth_method: 'client_secret_basic' },
  { ...common, client_id: 'bound', client_secret: 'bound-secret', token_endpoint_auth_method: 'client_secret_basic',
    tls_client_certificate_bound_access_tokens: true },
  { ...common, client_id: 'node by certificate', token_endpoint_auth_method: 'tls_client_auth',
    tls_client_auth_san_dns: 'node.example' },
];

const newKeys = () => [['ES256', 'ec', { namedCurve: 'P-256' }], ['RS256', 'rsa', { modulusLength: 2048 }]].map(
  ([alg, type, options]) => ({
    ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `${alg} ${randomUUID()}`,
  }),
);

const resource = (id) => {
  if (!Object.hasOwn(resources, id)) throw new errors.InvalidTarget();
  return { scope: scopes.join(' '), audience: id, ...resources[id] };
};

function authorizationServer(issuer, keys) {
  const lifetime = (ctx, token) => token.resourceServer?.accessTokenTTL ?? 600;
  const provider = new Provider(issuer, {
    clients,
    clientAuthMethods: ['client_secret_basic', 'tls_client_auth'],
    scopes,
    jwks: { keys },
    cookies: { keys: [randomUUID()] },
    findAccount: (ctx, id) => (Object.hasOwn(users, id) ? { accountId: id, claims: () => ({ sub: id }) } : undefined),
    extraTokenClaims: (ctx, token) => users[token.accountId],
    ttl: { AccessToken: lifetime, ClientCredentials: lifetime, IdToken: 600, Grant: 600 },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: { enabled: true, useGrantedResource: () => true, getResourceServerInfo: (ctx, id) => resource(id) },
      mTLS: {
        enabled: true,
        certificateBoundAccessTokens: true,
        tlsClientAuth: true,
        getCertificate: (ctx) => ctx.req.socket.getPeerX509Certificate(),
        certificateAuthorized: (ctx) => ctx.req.socket.authorized,
        certificateSubjectMatches: (ctx, property, expected) => property === 'tls_client_auth_san_dns'
          && (ctx.req.socket.getPeerX509Certificate()?.subjectAltName ?? '').split(', ').includes(`DNS:${expected}`),
      },
    },
  });
  provider.registerGrantType(userGrant, async (ctx) => {
    const { client, params } = ctx.oidc;
    const user = params.username ?? '';
    if (!Object.hasOwn(users, user)) throw new errors.InvalidGrant('there is no such user');
    const scope = params.scope || 'dicom.query dicom.store';
    const grant = new provider.Grant({ accountId: user, clientId: client.clientId });
    grant.addResourceScope(params.resource, scope);
    const token = new provider.AccessToken({ accountId: user, client, grantId: await grant.save(), gty: userGrant, scope });
    token.resourceServer = new provider.ResourceServer(params.resource, resource(params.resource));
    if (client.tlsClientCertificateBoundAccessTokens) token.setThumbprint('x5t', ctx.req.socket.getPeerX509Certificate());
    ctx.oidc.entity('AccessToken', token);
    const login = new provider.IdToken({ sub: user }, { ctx });
    login.scope = 'openid';
    login.set('nonce', randomUUID());
    ctx.body = {
      access_token: await token.save(), expires_in: token.expiration, token_type: 'Bearer', scope,
      id_token: await login.issue({ use: 'idtoken' }),
    };
  }, ['username', 'resource', 'scope']);
  provider.on('server_error', (ctx, error) => console.error(error));
  return provider.callback();
}

async function start({ key, certificate, authority }) {
  const server = https.createServer({
    key, cert: certificate, ca: authority, requestCert: true, rejectUnauthorized: false, minVersion: 'TLSv1.2',
  });
  await new Promise((done, failed) => { server.once('error', failed).listen(0, '127.0.0.1', done); });
  const { port } = server.address();
  const issuer = `https://localhost:${port}`;
  let keys = newKeys();
  let answer = authorizationServer(issuer, keys);
  let counts = {};
  let faults = [];

  server.on('request', (request, response) => {
    const [path] = request.url.split('?');
    counts[path] = (counts[path] ?? 0) + 1;
    const fault = faults.find((each) => each.path === path && each.times > 0);
    if (fault) fault.times -= 1;
    const proceed = () => (fault?.status ? response.writeHead(fault.status, fault.headers).end(fault.body) : answer(request, response));
    if (fault?.delay) setTimeout(proceed, fault.delay);
    else proceed();
  });

  return {
    port,
    rotate() {
      keys = [...newKeys(), ...keys.slice(0, 2)];
      answer = authorizationServer(issuer, keys);
      return {};
    },
    fault(wanted) {
      faults.push({ times: 1, headers: {}, ...wanted });
      return {};
    },
    heal() {
      faults = [];
      return {};
    },
    counts() {
      const seen = counts;
      counts = {};
      return seen;
    },
  };
}

let running;
const input = readline.createInterface({ input: process.stdin });
for await (const line of input) {
  const { do: verb, ...rest } = JSON.parse(line);
  let said;
  if (running) said = running[verb](rest);
  else {
    running = await start(rest);
    said = { port: running.port };
  }
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
process.exit(0);
