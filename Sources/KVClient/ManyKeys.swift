import Client
import NIOCore
import Sharding

/// Reading and writing several keys.
extension KVClient {
  private static let keysPerRequestMax = 256
  /// Of the keys as they stand in a target, of which nodes take 32 KiB at least.
  private static let targetBytesMax = 16 << 10
  private static let requestsAtATime = 8

  /// Reads several keys: one request for those of a shard, unless they are very many.
  ///
  /// They are read at different moments: what is returned need not have been there all at one time.
  ///
  /// - Returns: in the order of `keys`; nil for a key that is absent.
  public func getMany(
    _ keys: [[UInt8]], readFrom: KVReadSource? = nil, members: Int? = nil,
    session: KVSession? = nil
  ) async throws(KVClientError) -> [KVValue?] {
    guard keys.allSatisfy({ !$0.isEmpty }) else {
      throw .badRequest("a key is empty: every key has a byte at least")
    }
    guard !keys.isEmpty else { return [] }
    try await loadRoutes(deadline: .now() + TimeAmount(options.timeout))
    let groups = state.withLock { state in Self.groups(keys) { state.shard(of: $0) } }
    var values = [KVValue?](repeating: nil, count: keys.count)
    let results = await withTaskGroup(of: Result<[(Int, KVValue?)], KVClientError>.self) { group in
      var results: [Result<[(Int, KVValue?)], KVClientError>] = []
      for (number, indices) in groups.enumerated() {
        if number >= Self.requestsAtATime, let result = await group.next() {
          results.append(result)
          // The rest would be for nothing.
          if case .failure = result { break }
        }
        group.addTask {
          do throws(KVClientError) {
            let values = try await self.values(indices.map { keys[$0] }, readFrom, members, session)
            return .success(Array(zip(indices, values)))
          } catch {
            return .failure(error)
          }
        }
      }
      for await result in group { results.append(result) }
      return results
    }
    for result in results {
      for (index, value) in try result.get() { values[index] = value }
    }
    return values
  }

  /// The places of keys of one shard, as many as go into a request.
  static func groups(_ keys: [[UInt8]], shard: ([UInt8]) -> Int) -> [[Int]] {
    var groups: [[Int]] = []
    var open: [Int: (group: Int, bytes: Int)] = [:]
    for (index, key) in keys.enumerated() {
      let shard = shard(key)
      let bytes = 5 + 3 * key.count
      if let found = open[shard], groups[found.group].count < keysPerRequestMax,
        found.bytes + bytes <= targetBytesMax
      {
        groups[found.group].append(index)
        open[shard] = (found.group, found.bytes + bytes)
      } else {
        groups.append([index])
        open[shard] = (groups.count - 1, bytes)
      }
    }
    return groups
  }

  /// Keys of one shard.
  private func values(
    _ keys: [[UInt8]], _ readFrom: KVReadSource?, _ members: Int?, _ session: KVSession?
  ) async throws(KVClientError) -> [KVValue?] {
    guard keys.count > 1 else {
      let entry = try await get(keys[0], readFrom: readFrom, members: members, session: session)
      return [entry.map { KVValue(value: $0.value, version: $0.version) }]
    }
    var query = QueryText()
    for key in keys { query.add("key", bytes: key) }
    let answered = try await perform(
      read(.key(keys[0]), readFrom, members, session, query: query) { query in
        KVRequest(.GET, "/kv" + query)
      })
    guard answered.answer.status != 413 else {
      // Too large together.
      let half = keys.count / 2
      let first = try await values(Array(keys[..<half]), readFrom, members, session)
      return first + (try await values(Array(keys[half...]), readFrom, members, session))
    }
    guard answered.answer.status == 200 else {
      throw KeyExchange.refusal(answered.answer, answered.node)
    }
    let values = Self.values(answered.answer.body, of: keys)
    guard let values else {
      throw .unexpectedAnswer(answered.node, "the lines are not those of the keys")
    }
    if answered.answer.seen != nil { session?.note(answered) }
    return values
  }

  /// A line of JSON for each key, in their order; nil when that is something else.
  static func values(_ body: ByteBuffer, of keys: [[UInt8]]) -> [KVValue?]? {
    let lines = body.readableBytesView.split(separator: UInt8(ascii: "\n"))
    guard lines.count == keys.count else { return nil }
    var values: [KVValue?] = []
    for (key, line) in zip(keys, lines) {
      guard let json = ConfigurationText.parsed(Array(line)), json.bytes("key") == key else {
        return nil
      }
      if let value = json.bytes("value"), let version = json["version"]?.unsigned {
        values.append(KVValue(value: value, version: version))
      } else {
        guard json["error"] != nil else { return nil }
        values.append(nil)
      }
    }
    return values
  }

  // MARK: - Batches

  /// Writes several keys of one shard: all of them, or none. Others may see them change one after the other.
  ///
  /// - Parameter changes: in order; up to 10,000, and 4 MiB of keys and values.
  /// - Returns: the last one's number.
  /// - Throws: `.badRequest` when they are of several shards: only what is of one is written together.
  public func batch(
    _ changes: [KVChange], members: Int? = nil, session: KVSession? = nil
  ) async throws(KVClientError) -> UInt64 {
    guard let first = changes.first else { throw .badRequest("the batch is empty") }
    guard changes.allSatisfy({ !$0.key.isEmpty }) else {
      throw .badRequest("a key is empty: every key has a byte at least")
    }
    try await loadRoutes(deadline: .now() + TimeAmount(options.timeout))
    let shards = state.withLock { state in Set(changes.map { state.shard(of: $0.key) }) }
    guard shards.count == 1 else {
      throw .badRequest(
        "the keys of the batch are of \(shards.count) shards: only those of one are written together"
      )
    }
    let body = ByteBuffer(bytes: Self.lines(changes))
    let call = write(.key(first.key), members, isConditional: false, session) { query in
      KVRequest(.POST, "/batch" + query.text, body: body)
    }
    let answered = try await perform(call)
    guard answered.answer.status == 200 else {
      throw KeyExchange.refusal(answered.answer, answered.node)
    }
    let version = try KeyExchange.version(answered.answer, answered.node)
    session?.note(answered)
    return version
  }

  /// A line of JSON for each; keys and values in base64, whatever they are.
  private static func lines(_ changes: [KVChange]) -> [UInt8] {
    var text: [UInt8] = []
    for change in changes {
      let isPut = if case .put = change { true } else { false }
      text += Array("{\"op\":\"\(isPut ? "put" : "delete")\",\"key_base64\":\"".utf8)
      Base64.append(change.key, to: &text)
      if case .put(_, let value, let ttlSeconds) = change {
        text += Array("\",\"value_base64\":\"".utf8)
        Base64.append(value, to: &text)
        text += Array("\"\(ttlSeconds.map { ",\"ttl\":\($0)" } ?? "")}\n".utf8)
      } else {
        text += Array("\"}\n".utf8)
      }
    }
    return text
  }
}
