-- Helpers of the tests that talk to the cluster of cluster.sh.
local slurm = {}

function slurm.quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- What a command prints (errors too), and whether it succeeded with which status.
function slurm.output(command)
  local pipe <close> = assert(io.popen("{ " .. command .. "\n} 2>&1"))
  local text = pipe:read "a"
  local ok, _, status = pipe:close()
  return text, ok == true, status
end

function slurm.sleep(seconds)
  os.execute(("sleep %.2f"):format(seconds))
end

--- Asks `done` ten times a second until it answers something true, at most so many seconds; its answer, or nil.
function slurm.wait(seconds, done)
  for _ = 1, seconds * 10 do
    local answer = done()
    if answer then return answer end
    slurm.sleep(0.1)
  end
  return nil
end

--- Waits until no job is queued or running; true, or nil after so many seconds.
function slurm.wait_empty(seconds)
  return slurm.wait(seconds, function() return slurm.output "squeue -h -t all -t PD,R,CG" == "" end)
end

--- A requeued job waits two minutes by itself: this lets it start two seconds from now. (Within the second of its end
--- the node still refuses it: "credential revoked".)
function slurm.start_now(job)
  return slurm.wait(10, function()
    if slurm.output(("squeue -h -j %s -t PD -o %%T"):format(job)):find "PENDING" then
      return select(2, slurm.output(("scontrol update JobId=%s StartTime=now+2seconds"):format(job)))
    end
  end)
end

return slurm
