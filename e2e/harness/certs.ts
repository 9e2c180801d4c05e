// The lab's Kubernetes certificates, made by openssl: one CA, the API server, one client per user, the service accounts' key.

import {writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {must} from './shell.js';

export interface ClientCertificate {
  readonly certificate: string;
  readonly key: string;
}

/** Files in one folder. */
export class CertificateAuthority {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  get certificate(): string {
    return join(this.folder, 'ca.crt');
  }

  async create(): Promise<void> {
    await this.#key('ca');
    await must(['openssl', 'req', '-x509', '-new', '-sha256', '-days', '30', '-subj', '/CN=lab-ca', '-key', join(this.folder, 'ca.key'),
      '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign', '-out', this.certificate]);
  }

  /** For a server reached by these names and addresses. */
  server(name: string, altNames: readonly string[]): Promise<ClientCertificate> {
    return this.#issue(name, `/CN=${name}`, [`subjectAltName=${altNames.join(',')}`, 'extendedKeyUsage=serverAuth']);
  }

  client(name: string, user: string, group: string): Promise<ClientCertificate> {
    return this.#issue(name, `/O=${group}/CN=${user}`, ['extendedKeyUsage=clientAuth']);
  }

  /** Key pair that signs service account tokens: `sa.key`, `sa.pub`. */
  async serviceAccountKeys(): Promise<{readonly privateKey: string; readonly publicKey: string}> {
    await this.#key('sa');
    const publicKey = join(this.folder, 'sa.pub');
    await must(['openssl', 'ec', '-in', join(this.folder, 'sa.key'), '-pubout', '-out', publicKey]);
    return {privateKey: join(this.folder, 'sa.key'), publicKey};
  }

  async #key(name: string): Promise<void> {
    await must(['openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', join(this.folder, `${name}.key`)]);
  }

  async #issue(name: string, subject: string, extensions: readonly string[]): Promise<ClientCertificate> {
    const at = (suffix: string): string => join(this.folder, `${name}.${suffix}`);
    await this.#key(name);
    await must(['openssl', 'req', '-new', '-sha256', '-subj', subject, '-key', at('key'), '-out', at('csr')]);
    writeFileSync(at('ext'), `${extensions.join('\n')}\n`);
    await must(['openssl', 'x509', '-req', '-sha256', '-days', '30', '-in', at('csr'), '-CA', this.certificate, '-CAkey', join(this.folder, 'ca.key'),
      '-set_serial', `0x${Buffer.from(name).toString('hex').slice(0, 32)}`, '-extfile', at('ext'), '-out', at('crt')]);
    return {certificate: at('crt'), key: at('key')};
  }
}

/** A kubeconfig that names files. */
export function writeKubeconfig(path: string, server: string, authority: CertificateAuthority, client: ClientCertificate): void {
  const config = {
    apiVersion: 'v1', kind: 'Config', 'current-context': 'lab',
    clusters: [{name: 'lab', cluster: {server, 'certificate-authority': authority.certificate}}],
    users: [{name: 'lab', user: {'client-certificate': client.certificate, 'client-key': client.key}}],
    contexts: [{name: 'lab', context: {cluster: 'lab', user: 'lab'}}],
  };
  writeFileSync(path, `${JSON.stringify(config, null, 2)}\n`, {mode: 0o600});
}
