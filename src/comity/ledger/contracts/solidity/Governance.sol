// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {System, MEMBERS, GRANTS, SERVICES} from "./System.sol";

/// Proposals that members vote on: which model a service points at, and who joins.
contract Governance is System {
    enum Status {
        None,
        Open,
        Passed,
        Refused,
        Executed
    }

    struct Proposal {
        Status status;
        uint16 need;
        uint16 approvals;
        uint16 refusals;
        uint32 timeLock;
        uint64 readyAt;
        bytes32 service;
        bytes32 model;
        bytes32 previous;
    }

    struct Candidate {
        string name;
        address org;
        address validator;
        string endpoint;
    }

    event Proposed(bytes32 indexed proposal, bytes32 indexed service, bytes32 indexed model, uint256 need);
    event Voted(bytes32 indexed proposal, address indexed org, bool approve);
    event Passed(bytes32 indexed proposal, uint64 ready_at);
    event Refused(bytes32 indexed proposal);
    event Executed(bytes32 indexed proposal);

    mapping(bytes32 proposal => Proposal) private _proposals;
    mapping(bytes32 proposal => Candidate) private _candidates;
    mapping(bytes32 proposal => mapping(address org => bool)) public hasVoted;

    /// Point the service at the model. `previous` is what it points at now (0 = nothing): a vote never replaces a model unseen.
    function propose(bytes32 service, bytes32 model, bytes32 previous, bytes calldata payload, bytes calldata signature) external direct {
        (uint8 approvals, uint32 timeLock) = SERVICES.rules(service);
        require(approvals > 0, "there is no such service");
        _ownerOf(model, "model", "a proposal is about a model");
        require(!GRANTS.isRevoked(model), "the model was revoked");
        (bytes32 current, , ) = SERVICES.current(service);
        require(current == previous, "the service points at another model than the proposal says");
        require(current != model, "the service points at this model already");
        bytes32 digest = _open(approvals, timeLock, payload, signature);
        Proposal storage proposal = _proposals[digest];
        (proposal.service, proposal.model, proposal.previous) = (service, model, previous);
        emit Proposed(digest, service, model, approvals);
    }

    /// Admit a member: more than half of the members must approve.
    function admitMember(
        string calldata name,
        address org,
        address validator,
        string calldata endpoint,
        bytes calldata payload,
        bytes calldata signature
    ) external direct {
        require(org != address(0) && !MEMBERS.isMember(org), "this address is a member already");
        uint256 need = MEMBERS.count() / 2 + 1;
        bytes32 digest = _open(uint16(need), 0, payload, signature);
        _candidates[digest] = Candidate(name, org, validator, endpoint);
        emit Proposed(digest, 0, 0, need);
    }

    /// One vote an organisation. Votes after the proposal has passed are kept, and change nothing.
    function vote(bytes32 proposal, bool approve, bytes calldata payload, bytes calldata signature) external direct {
        Proposal storage it = _proposals[proposal];
        require(it.status != Status.None, "there is no such proposal");
        require(it.status == Status.Open || it.status == Status.Passed, "the vote on this proposal is over");
        require(!hasVoted[proposal][msg.sender], "this organisation has voted already");
        require(!GRANTS.isRevoked(proposal), "the proposal was withdrawn");
        _place("vote", payload, signature);
        hasVoted[proposal][msg.sender] = true;
        if (approve) it.approvals++;
        else it.refusals++;
        emit Voted(proposal, msg.sender, approve);
        if (it.status == Status.Open) _decide(proposal, it);
    }

    /// Carry out what has passed, once its time lock is over. Any member may.
    function execute(bytes32 proposal) external direct onlyMember {
        Proposal storage it = _proposals[proposal];
        require(it.status == Status.Passed, "only a proposal that has passed, and once");
        require(block.timestamp >= it.readyAt, "the time lock is not over");
        require(!GRANTS.isRevoked(proposal), "the proposal was withdrawn");
        it.status = Status.Executed;
        if (it.service != 0) {
            (bytes32 current, , ) = SERVICES.current(it.service);
            require(current == it.previous, "the service points at another model than the proposal says");
            require(!GRANTS.isRevoked(it.model), "the model was revoked");
            SERVICES.point(it.service, it.model, proposal);
        } else {
            Candidate storage candidate = _candidates[proposal];
            MEMBERS.admit(candidate.name, candidate.org, candidate.validator, candidate.endpoint);
        }
        emit Executed(proposal);
    }

    function proposalOf(bytes32 proposal)
        external
        view
        returns (Status status, uint256 need, uint256 approvals, uint256 refusals, uint64 ready_at)
    {
        Proposal storage it = _proposals[proposal];
        return (it.status, it.need, it.approvals, it.refusals, it.readyAt);
    }

    function _open(uint16 need, uint32 timeLock, bytes calldata payload, bytes calldata signature) private returns (bytes32 digest) {
        digest = _place("proposal", payload, signature);
        Proposal storage it = _proposals[digest];
        (it.status, it.need, it.timeLock) = (Status.Open, need, timeLock);
    }

    function _decide(bytes32 proposal, Proposal storage it) private {
        if (it.approvals >= it.need) {
            it.status = Status.Passed;
            it.readyAt = uint64(block.timestamp) + it.timeLock;
            emit Passed(proposal, it.readyAt);
        } else if (uint256(it.refusals) + it.need > MEMBERS.count()) {
            it.status = Status.Refused;
            emit Refused(proposal);
        }
    }
}
