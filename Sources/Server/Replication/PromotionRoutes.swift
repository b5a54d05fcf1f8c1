import Engine
import NIOCore
import WAL

/// `POST /admin/promote`, which has this node lead its shard, and `POST /admin/promise`, by which the
/// members are asked for that.
extension LoopState {
  func promote(_ query: Parameters, _ lane: StandardLane) -> Handling {
    lane.isFor(.promote)
    let isForced: Bool
    switch query.text("force") {
    case nil, "false": isForced = false
    case "true": isForced = true
    default: return .now(badOption("force must be true or false"))
    }
    switch query.text("handover") {
    case nil, "false": break
    case "true":
      guard !isForced else { return .now(badOption("force makes no sense with handover")) }
      if !node.isLeading { return askForHandOver(lane) }
    default: return .now(badOption("handover must be true or false"))
    }
    return order(.promote(isForced: isForced, needed: query.text("from")), lane)
  }

  func promise(_ query: Parameters, _ lane: StandardLane) -> Handling {
    lane.isFor(.promote)
    let asked: FollowerQuery
    do {
      asked = try FollowerQuery(query, sequence: "seq", least: 0, limits: limits)
    } catch {
      return .now(badOption(error.message))
    }
    guard let epoch = asked.epoch, let origin = asked.origin else {
      return .now(badOption("epoch and origin are needed"))
    }
    // Nobody could lead above it.
    guard epoch.number < Promotion.numberLimit else {
      return .now(badOption("epoch must be below \(Promotion.numberLimit)"))
    }
    return order(.promise(epoch, origin: origin), lane)
  }

  private func order(_ kind: LifeOrder.Kind, _ lane: StandardLane) -> Handling {
    guard !isDraining else { return .now(unavailable("the node is stopping")) }
    let eventLoop = eventLoop
    // Used on the loop.
    nonisolated(unsafe) let lane = lane
    node.give(
      LifeOrder(kind: kind) { answer in
        eventLoop.execute { lane.deliver(.now(self.say(answer))) }
      })
    return .later
  }

  private func say(_ answer: LifeAnswer) -> Answer {
    switch answer {
    case .standing(let standing, let promised, let lacks):
      body.writeString(
        "{\"promised\":\"\(promised.text)\",\"origin\":\"\(hexadecimal(store.origin))\",\"epoch\":\""
          + "\(standing?.epoch.text ?? LogPosition.start.epoch.text)\",\"sequence\":\(standing?.sequence ?? 0)"
          + (lacks ? ",\"lacks\":true}" : "}"))
      return Answer(.ok, .json)
    case .leads(let epoch, let sequence, let promotion):
      body.writeString(
        "{\"role\":\"leader\",\"epoch\":\(epoch.number),\"epoch_node\":\"\(hexadecimal(epoch.node))\","
          + "\"sequence\":\(sequence),\"promoted\":\(promotion != nil)")
      if let promotion {
        body.writeString(",\"promises\":\(promotion.promises),\"members\":\(promotion.memberCount)")
        if promotion.promises < promotion.memberCount {
          let text =
            promotion.writeQuorum > 1 && promotion.isEnough
            ? "members that did not answer follow when they come back"
            : "what only members had that did not answer is not in this history; they keep it under diverged/"
          body.writeString(",\"note\":\"\(text)\"")
        }
      }
      body.writeString("}")
      return Answer(.ok, .json)
    case .tooFew(let promotion, let reached):
      return unavailable(
        "\(reached) of \(promotion.memberCount) members can be had, and with a write quorum of "
          + "\(promotion.writeQuorum) it takes \(promotion.neededPromises) to know what was acknowledged. "
          + "With force=true this node leads without: what was acknowledged by the others alone may be lost"
      )
    case .refused(let reason, let highest):
      body.writeString("{\"error\":")
      var text = reason
      text.withUTF8 { JSONText.writeString(UnsafeRawBufferPointer($0), into: &body) }
      if let highest { body.writeString(",\"highest\":\"\(highest.text)\"") }
      body.writeString("}")
      return Answer(.conflict, .json)
    }
  }
}
