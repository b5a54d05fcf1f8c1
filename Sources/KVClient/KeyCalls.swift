import Client
import NIOCore

/// Reading and writing one key.
extension KVClient {
  /// Reads a key.
  ///
  /// - Parameters:
  ///   - readFrom: in place of the client's.
  ///   - members: ask so many members of the shard, and take what the one has that is furthest.
  ///   - session: read nothing older than what that has seen.
  /// - Returns: nil when the key is absent.
  public func get(
    _ key: [UInt8], readFrom: KVReadSource? = nil, members: Int? = nil, session: KVSession? = nil
  ) async throws(KVClientError) -> KVEntry? {
    let target = try KeyExchange.target(key)
    let answered = try await perform(
      read(.key(key), readFrom, members, session) { query in KVRequest(.GET, target + query) })
    let entry = try KeyExchange.entry(answered.answer, answered.node)
    if let entry {
      session?.note(entry.etag, shard: answered.shard, of: answered.shardCount)
    }
    return entry
  }

  /// Writes a key.
  ///
  /// - Parameters:
  ///   - condition: what must hold; where it does not: `.refused` with 412, and nothing was written.
  ///   - ttlSeconds: the key is absent after so many; nil: it stays.
  ///   - members: wait until so many members of the shard have it. Fewer have it in time: `.refused` with 504, and
  ///     it is written all the same. Fewer are there: with 503, and nothing was written.
  ///   - session: what reads nothing older than this from now on.
  public func put(
    _ key: [UInt8], _ value: [UInt8], if condition: KVCondition? = nil, ttlSeconds: UInt64? = nil,
    members: Int? = nil, session: KVSession? = nil
  ) async throws(KVClientError) -> KVWritten {
    let target = try KeyExchange.target(key)
    let request = KeyExchange.put(target, value, if: condition)
    let call = write(.key(key), members, isConditional: condition != nil, session) { query in
      var query = query
      if let ttlSeconds { query.add("ttl", ttlSeconds) }
      var request = request
      request.target += query.text
      return request
    }
    let answered = try await perform(call)
    let written = try KeyExchange.written(answered.answer, answered.node)
    session?.note(written.etag, shard: answered.shard, of: answered.shardCount)
    return written
  }

  /// Removes a key.
  ///
  /// - Returns: false when the key was absent already.
  public func delete(
    _ key: [UInt8], if condition: KVCondition? = nil, members: Int? = nil,
    session: KVSession? = nil
  ) async throws(KVClientError) -> Bool {
    let request = KeyExchange.delete(try KeyExchange.target(key), if: condition)
    let call = write(.key(key), members, isConditional: condition != nil, session) { query in
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
    _ key: String, _ value: String, if condition: KVCondition? = nil, ttlSeconds: UInt64? = nil,
    members: Int? = nil, session: KVSession? = nil
  ) async throws(KVClientError) -> KVWritten {
    try await put(
      Array(key.utf8), Array(value.utf8), if: condition, ttlSeconds: ttlSeconds, members: members,
      session: session)
  }

  @discardableResult
  public func delete(
    _ key: String, if condition: KVCondition? = nil, members: Int? = nil,
    session: KVSession? = nil
  ) async throws(KVClientError) -> Bool {
    try await delete(Array(key.utf8), if: condition, members: members, session: session)
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
      return request(query)
    }
  }

  /// How long a node may wait for others so that its answer still comes in time.
  static func waitMilliseconds(_ left: TimeAmount) -> Int64 {
    max(1, left.nanoseconds / 1_000_000 * 4 / 5)
  }
}
