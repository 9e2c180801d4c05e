// Tests run on compiled output; make targets choose the suites by path (unit, kernel, e2e).
export default {
  rootDir: 'dist',
  testMatch: ['**/*.test.js'],
  testEnvironment: 'node',
  transform: {},
  coverageProvider: 'v8',
  workerIdleMemoryLimit: '512MB',
};
