import Client
import NIOCore
import Sharding

/// Reading and writing one key.
extension KVClient {
  /// Reads a key.
  ///
  /// - Parameters:
  ///   - readFrom: in place of the client's.
  ///   - members: ask so many members of the shard, and take what the one has that is furthest.
  ///   - session: read nothing older than what that has seen.
  /// - Returns: nil when the key is absent. Of a leaderless shard's key with several values the newest, which has
  ///   the others with it.
  public func get(
    _ key: [UInt8], readFrom: KVReadSource? = nil, members: Int? = nil, session: KVSession? = nil
  ) async throws(KVClientError) -> KVEntry? {
    let target = try KeyExchange.target(key)
    let answered = try await perform(
      read(.key(key), readFrom, members, session) { query in KVRequest(.GET, target + query) })
    let entry =
      answered.answer.status == 300
      ? try Self.siblings(answered.answer, answered.node)
      : try KeyExchange.entry(answered.answer, answered.node)
    if entry != nil || answered.answer.seen != nil { session?.note(answered) }
    return entry
  }

  /// Writes a key.
  ///
  /// - Parameters:
  ///   - condition: what must hold; where it does not: `.refused` with 412, and nothing was written.
  ///   - context: of a leaderless shard: replaces what that has seen, and nothing else. Nil: what the node has that
  ///     takes the write.
  ///   - ttlSeconds: the key is absent after so many; nil: it stays.
  ///   - members: wait until so many members of the shard have it. Fewer have it in time: `.refused` with 504, and
  ///     it is written all the same. Fewer are there: with 503, and nothing was written.
  ///   - session: what reads nothing older than this from now on.
  public func put(
    _ key: [UInt8], _ value: [UInt8], if condition: KVCondition? = nil,
    context: KVContext? = nil, ttlSeconds: UInt64? = nil, members: Int? = nil,
    session: KVSession? = nil
  ) async throws(KVClientError) -> KVWritten {
    let target = try KeyExchange.target(key)
    let request = KeyExchange.put(target, value, if: condition, context: context)
    // A second one with the same context would stand beside the first.
    let isConditional = condition != nil || context != nil
    let call = write(.key(key), members, isConditional: isConditional, session) { query in
      var query = query
      if let ttlSeconds { query.add("ttl", ttlSeconds) }
      var request = request
      request.target += query.text
      return request
    }
    let answered = try await perform(call)
    let written = try KeyExchange.written(answered.answer, answered.node)
    session?.note(answered)
    return written
  }

  /// Removes a key.
  ///
  /// - Parameter context: of a leaderless shard: removes what that has seen, and nothing else.
  /// - Returns: false when the key was absent already.
  public func delete(
    _ key: [UInt8], if condition: KVCondition? = nil, context: KVContext? = nil,
    members: Int? = nil, session: KVSession? = nil
  ) async throws(KVClientError) -> Bool {
    let request = KeyExchange.delete(
      try KeyExchange.target(key), if: condition, context: context)
    let isConditional = condition != nil || context != nil
    let call = write(.key(key), members, isConditional: isConditional, session) { query in
      var request = request
      request.target += query.text
      return request
    }
    let answered = try await perform(call)
    let wasThere = try KeyExchange.deleted(answered.answer, answered.node)
    session?.note(answered)
    return wasThere
  }

  // MARK: - The same with texts

  public func get(
    _ key: String, readFrom: KVReadSource? = nil, members: Int? = nil, session: KVSession? = nil
  ) async throws(KVClientError) -> KVEntry? {
    try await get(Array(key.utf8), readFrom: readFrom, members: members, session: session)
  }

  @discardableResult
  public func put(
    _ key: String, _ value: String, if condition: KVCondition? = nil, context: KVContext? = nil,
    ttlSeconds: UInt64? = nil, members: Int? = nil, session: KVSession? = nil
  ) async throws(KVClientError) -> KVWritten {
    try await put(
      Array(key.utf8), Array(value.utf8), if: condition, context: context,
      ttlSeconds: ttlSeconds, members: members, session: session)
  }

  @discardableResult
  public func delete(
    _ key: String, if condition: KVCondition? = nil, context: KVContext? = nil,
    members: Int? = nil, session: KVSession? = nil
  ) async throws(KVClientError) -> Bool {
    try await delete(
      Array(key.utf8), if: condition, context: context, members: members, session: session)
  }

  /// What a leaderless shard says of a key with several values: newest first.
  static func siblings(
    _ answer: KVResponse, _ node: NodeAddress
  ) throws(KVClientError) -> KVEntry {
    let json = ConfigurationText.parsed(Array(answer.body.readableBytesView))
    var values: [KVValue] = []
    for element in json?["siblings"]?.elements ?? [] {
      guard let value = element.bytes("value"), let version = element["version"]?.unsigned else {
        throw .unexpectedAnswer(node, "one of the key's values is none")
      }
      values.append(KVValue(value: value, version: version))
    }
    guard let newest = values.first, let context = answer.context, let etag = answer.etag else {
      throw .unexpectedAnswer(node, "the answer has no values, no X-KV-Context or no ETag")
    }
    return KVEntry(
      value: newest.value, version: newest.version, etag: etag, context: context,
      siblings: Array(values.dropFirst()))
  }

  // MARK: - Calls

  /// - Parameter request: from the query that the options come to.
  func read(
    _ place: Call.Place, _ readFrom: KVReadSource?, _ members: Int?, _ session: KVSession?,
    query own: QueryText = QueryText(), _ request: @escaping @Sendable (String) -> KVRequest
  ) -> Call {
    Call(
      place: place, use: .read(readFrom ?? options.readFrom), mayRepeat: true,
      needsRoutes: session != nil, hasSession: session != nil
    ) { terms in
      var query = own
      if let members { query.add("r", members) }
      let minimum = session?.minimum(shard: terms.shard, of: terms.shardCount)
      if let minimum { query.add("min_version", minimum) }
      // So that the node does not wait longer than this client does.
      if members != nil || minimum != nil {
        query.add("timeout_ms", Self.waitMilliseconds(terms.left))
      }
      return request(query.text)
    }
  }

  func write(
    _ place: Call.Place, _ members: Int?, isConditional: Bool, _ session: KVSession?,
    _ request: @escaping @Sendable (QueryText) -> KVRequest
  ) -> Call {
    Call(
      place: place, use: .write, mayRepeat: options.repeatsWrites && !isConditional,
      needsRoutes: session != nil
    ) { terms in
      var query = QueryText()
      if let members {
        query.add("w", members)
        // A node waits for 5 s unless it is told otherwise.
        if terms.left < .seconds(6) { query.add("timeout_ms", Self.waitMilliseconds(terms.left)) }
      }
      let seen = session?.seen(shard: terms.shard, of: terms.shardCount)
      if let seen { query.add("min_version", seen) }
      return request(query)
    }
  }

  /// How long a node may wait for others so that its answer still comes in time.
  static func waitMilliseconds(_ left: TimeAmount) -> Int64 {
    max(1, left.nanoseconds / 1_000_000 * 4 / 5)
  }
}
