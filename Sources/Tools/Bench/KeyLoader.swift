import Client
import NIOCore

/// Stores the keys of a run before it begins.
struct KeyLoader {
  /// Keys of which it is asked whether they are there.
  private static let samples: UInt64 = 32
  private static let batchKeysMax = 1_000
  private static let batchBytesMax = 1 << 20
  private static let batchesAtATime = 4

  private let parameters: BenchParameters
  private let targets: TargetMap
  private let show: LiveLine?
  private let value: String

  init(_ parameters: BenchParameters, _ targets: TargetMap, _ show: LiveLine?) {
    self.parameters = parameters
    self.targets = targets
    self.show = show
    value = String(
      decoding: RequestText.value(bytes: parameters.valueBytes, seed: parameters.seed),
      as: UTF8.self)
  }

  private var timeout: Duration { .seconds(max(30, parameters.timeoutSeconds)) }

  /// - Returns: nil when nothing had to be stored.
  func load() async throws(BenchError) -> BenchResult.Loading? {
    let pool = KVPool()
    defer { pool.close() }
    let clients = targets.nodes.map { NodeClient($0, pool: pool, timeout: timeout) }
    switch parameters.load {
    case .never: return nil
    case .always: break
    case .auto:
      guard parameters.mix.hasReads || parameters.mix.scans > 0 else { return nil }
      if try await samplesArePresent(clients) { return nil }
    }
    let start = Clock.monotonic()
    var stored: UInt64 = 0
    for shard in 0..<targets.shardCount {
      guard let writer = targets.writers[shard].first else {
        throw .unusable("the keys cannot be stored: no --target takes writes (--load never)")
      }
      stored += try await load(shard, clients[writer], stored)
    }
    show?.end()
    return BenchResult.Loading(keys: stored, seconds: Double(Clock.monotonic() - start) / 1e9)
  }

  /// Looks at some that are spread over all, the first and the last among them.
  private func samplesArePresent(_ clients: [NodeClient]) async throws(BenchError) -> Bool {
    let count = min(Self.samples, parameters.keys)
    for index in 0..<count {
      let number = count == 1 ? 0 : index * (parameters.keys - 1) / (count - 1)
      let key = Array(RequestText.key(number, prefix: parameters.keyPrefix).utf8)
      guard let node = targets.writers[targets.shard(of: key)].first else { return true }
      do throws(KVClientError) {
        if try await clients[node].get(key) == nil { return false }
      } catch .refused(_, status: 300, _) {
        // Siblings: it is there more than once.
      } catch {
        throw .target("cannot look whether the keys are there: \(error)")
      }
    }
    return true
  }

  /// - Returns: how many keys were stored.
  private func load(
    _ shard: Int, _ client: NodeClient, _ before: UInt64
  ) async throws(BenchError) -> UInt64 {
    let batchKeys = min(Self.batchKeysMax, Self.batchBytesMax / (parameters.valueBytes + 64))
    var next: UInt64 = 0
    var stored: UInt64 = 0
    while next < parameters.keys {
      if Interruption.isRequested { throw .target("interrupted while keys were being stored") }
      var requests: [(request: KVRequest, keys: UInt64)] = []
      while next < parameters.keys, requests.count < Self.batchesAtATime {
        if let request = request(&next, shard, keysMax: max(1, batchKeys)) {
          requests.append(request)
        }
      }
      stored += try await send(requests, client)
      show?.show(
        "storing keys: \(FixedText.count(before + stored)) of \(FixedText.count(parameters.keys))")
    }
    return stored
  }

  /// The next keys of a shard in one request; nil when there are none.
  private func request(
    _ next: inout UInt64, _ shard: Int, keysMax: Int
  ) -> (request: KVRequest, keys: UInt64)? {
    let query = RequestText.query(parameters.writeQuorum)
    let isSingle = parameters.valueBytes + 64 > Self.batchBytesMax
    var body = ""
    var count: UInt64 = 0
    while next < parameters.keys, count < keysMax {
      let key = RequestText.key(next, prefix: parameters.keyPrefix)
      next += 1
      guard targets.shard(of: key.utf8) == shard else { continue }
      if isSingle {
        return (KVRequest(.PUT, "/kv/\(key)\(query)", body: ByteBuffer(string: value)), 1)
      }
      body += "{\"op\":\"put\",\"key\":\"\(key)\",\"value\":\"\(value)\"}\n"
      count += 1
    }
    guard count > 0 else { return nil }
    return (KVRequest(.POST, "/batch\(query)", body: ByteBuffer(string: body)), count)
  }

  private func send(
    _ requests: [(request: KVRequest, keys: UInt64)], _ client: NodeClient
  ) async throws(BenchError) -> UInt64 {
    let outcomes = await withTaskGroup(of: Result<UInt64, BenchError>.self) { group in
      for (request, keys) in requests {
        group.addTask {
          do throws(KVClientError) {
            let answer = try await client.send(request)
            guard answer.status / 100 == 2 else {
              let text = String(buffer: answer.body).prefix(300)
              return .failure(
                .target("cannot store the keys: \(client.address): \(answer.status) \(text)"))
            }
            return .success(keys)
          } catch {
            return .failure(.target("cannot store the keys: \(error)"))
          }
        }
      }
      var outcomes: [Result<UInt64, BenchError>] = []
      for await outcome in group { outcomes.append(outcome) }
      return outcomes
    }
    var stored: UInt64 = 0
    for outcome in outcomes { stored += try outcome.get() }
    return stored
  }
}
